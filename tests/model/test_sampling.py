import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.conditions import assemble
from model.guidance import Passes, forwards, guided_velocity, one_by_one, pose_guided
from model.sampling import Sampler


@pytest.mark.parametrize(("steps", "shift"), [(8, 5.0), (100, 12.0)])
@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
def test_the_true_velocity_leads_to_the_sample(solver, steps, shift):
    """Also where two timesteps are the same."""
    g = torch.Generator().manual_seed(0)
    sample, noise = (torch.randn(1, 16, 3, 4, 4, generator=g) for _ in range(2))
    sampler = Sampler(solver, steps, shift)
    first = float(sampler.sigmas[0])
    latent = (1 - first) * sample + first * noise
    for timestep in sampler.timesteps:
        latent = sampler.step(noise - sample, timestep, latent)
    torch.testing.assert_close(latent, sample, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("steps", "active", "calls"),
    [(4, [1], 9), (8, [1, 2, 3], 19), (20, range(3, 8), 45), (40, range(5, 16), 91), (50, range(6, 20), 114)],
)
def test_steps_with_a_negative_pose(steps, active, calls):
    assert [i for i in range(steps) if pose_guided(i, steps, (0.1, 0.4))] == list(active)
    assert forwards(steps, (0.1, 0.4)) == calls


def passes() -> Passes:
    z = torch.zeros(1, 16, 1, 2, 2)
    positive = assemble(z, z + 1, torch.zeros(1, 257, 2), torch.zeros(1, 257, 2), [torch.ones(1, 3)])
    return Passes(positive, positive.with_text([-torch.ones(1, 3)]), positive.with_pose_latent(z - 1))


@given(w_text=st.floats(0, 8), w_pose=st.floats(0, 4))
def test_guidance_is_the_specified_sum(w_text, w_pose):
    p = passes()
    values = {id(p.positive): 0.7, id(p.negative_text): -0.4, id(p.negative_pose): 0.2}
    called = []

    def model(latent, timestep, conditions):
        called.append(id(conditions))
        return torch.full_like(latent, values[id(conditions)])

    (velocities,) = one_by_one(model, [p])
    latent = torch.zeros(1, 16, 1, 2, 2)
    out = guided_velocity(velocities, latent, torch.tensor([500]), w_text, w_pose)
    expected = (w_text + w_pose) * 0.7 + (1 - w_text) * -0.4 - w_pose * 0.2
    assert float(out.mean()) == pytest.approx(expected, abs=1e-4)
    assert sorted(called) == sorted(values)
    called.clear()
    out = guided_velocity(velocities, latent, torch.tensor([500]), w_text, None)
    assert float(out.mean()) == pytest.approx(-0.4 + w_text * 1.1, abs=1e-4)
    assert id(p.negative_pose) not in called
