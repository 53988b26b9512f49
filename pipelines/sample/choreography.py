"""Dances as curves over time: joint angles (radians) and places (statures), periodic in the beat of a tempo.

A dance is a row of arm moves and of step patterns, each four beats long, cross-faded over a beat; the sway, bounce and
turns of the trunk and head run through. :func:`dance` returns what :func:`pipelines.sample.skeleton.pose` takes.
"""

from collections.abc import Callable

import numpy as np

Curves = dict[str, np.ndarray]
PI = np.pi
BEATS_PER_MOVE = 4.0


def _wave(beats: np.ndarray, period: float, phase: float = 0.0) -> np.ndarray:
    """Between 0 and 1, once per ``period`` beats."""
    return 0.5 - 0.5 * np.cos(2 * PI * (beats / period - phase))


def _arm(up, forward, elbow, twist, palm=0.0) -> Curves:
    return {"raise": up, "forward": forward, "elbow": elbow, "twist": twist, "palm": palm}


def _lift(b, phase):
    w = _wave(b, 4, phase)
    return _arm(0.35 + 1.75 * w, 0.25, 0.45 + 0.3 * w, 0.3 + 0.9 * w)


def _ripple(b, phase):
    return _arm(1.45 + 0.35 * np.sin(PI * b / 2 + 2 * PI * phase), 0.15, 0.75 + 0.45 * np.sin(PI * b / 2 - 1.2), 1.15)


def _pump(b, phase):
    w = _wave(b, 2, phase)
    return _arm(1.15 + 0.75 * w, 0.3, 1.9 - 1.2 * w, 1.45)


def _low(b, phase):
    w = _wave(b, 2, phase)
    return _arm(0.35 + 0.4 * w, 0.2, 0.75 + 0.5 * w, 0.75)


def _circle(b, phase):
    turn = PI * b / 2 + 2 * PI * phase
    return _arm(1.2 + 0.7 * np.sin(turn), 0.3 + 0.25 * np.cos(turn), 0.7 + 0.25 * np.cos(turn), 0.9)


def _point(b, phase):
    w = _wave(b, 4, phase) ** 2
    return _arm(0.5 + 1.9 * w, 0.3 - 0.2 * w, 1.0 - 0.75 * w, 0.8)


def _swing(b, phase):
    w = _wave(b, 2, phase)
    return _arm(0.3 + 0.25 * w, 0.3 + 0.7 * w, 0.7 + 0.7 * w, 0.35)


# Each move with the phase between the two arms: together, or one after the other.
ARMS: tuple[tuple[Callable[[np.ndarray, float], Curves], float], ...] = (
    (_lift, 0.0),
    (_low, 0.5),
    (_pump, 0.0),
    (_ripple, 0.5),
    (_circle, 0.0),
    (_point, 0.5),
    (_swing, 0.5),
    (_lift, 0.5),
    (_pump, 0.5),
    (_circle, 0.5),
)
HIGH_MOVES = {_lift, _pump, _point, _circle}


def _feet(stance: float, shift, left_lift, right_lift, left_out=0.0, right_out=0.0, sink=0.0) -> Curves:
    return {
        "left_foot_x": stance + left_out,
        "right_foot_x": -stance - right_out,
        "left_foot_lift": left_lift,
        "right_foot_lift": right_lift,
        "x": shift,
        "sink": sink,
    }


def _sway(b, stance):
    return _feet(stance, 0.05 * np.sin(PI * b / 2), 0.0, 0.0, sink=0.012 + 0.018 * _wave(b, 1))


def _march(b, stance):
    left, right = np.maximum(np.sin(PI * b), 0) ** 1.5, np.maximum(-np.sin(PI * b), 0) ** 1.5
    return _feet(stance, -0.03 * np.sin(PI * b), 0.10 * left, 0.10 * right, sink=0.01 + 0.012 * _wave(b, 1))


def _tap(b, stance):
    s = np.sin(PI * b / 2)
    left, right = np.maximum(s, 0) ** 2, np.maximum(-s, 0) ** 2
    lifts = 0.05 * np.sin(PI * left), 0.05 * np.sin(PI * right)
    return _feet(stance, 0.045 * (right - left), *lifts, 0.10 * left, 0.10 * right, 0.015 + 0.02 * _wave(b, 1))


def _squat(b, stance):
    w = _wave(b, 4)
    return _feet(stance + 0.05, 0.0, 0.0, 0.0, sink=0.02 + 0.10 * w)


STEPS = (_sway, _march, _tap, _squat)


def _blend(moves: list[Curves], beats: np.ndarray, fade: float = 1.0) -> Curves:
    """Move k holds from beat 4k on; a smoothstep of ``fade`` beats leads from one to the next."""
    out: Curves = {}
    for k, move in enumerate(moves):
        x = np.clip((beats - k * BEATS_PER_MOVE) / fade + 0.5, 0, 1)
        weight = np.ones_like(beats) if k == 0 else x * x * (3 - 2 * x)
        for key, value in move.items():
            out[key] = np.broadcast_to(value, beats.shape) if k == 0 else out[key] * (1 - weight) + weight * value
    return out


def dance(times: np.ndarray, rng: np.random.Generator, *, compact: bool = False, narrow: bool = False) -> Curves:
    """A dance of its own for each ``rng``, sampled at ``times`` (T,) seconds. ``compact`` keeps arms below the head and
    feet on the spot, for half-body framing and for two dancers side by side; ``narrow`` bends the elbows more, for
    pictures narrower than spread arms."""
    tempo = rng.uniform(84, 112)
    beats = times * tempo / 60 + rng.uniform(0, 1)
    count = int(beats.max() // BEATS_PER_MOVE) + 2
    arms = [ARMS[k] for k in rng.permutation(len(ARMS)) if not (compact and ARMS[k][0] in HIGH_MOVES)]
    steps = [_sway] if compact else [STEPS[k] for k in rng.permutation(len(STEPS))]
    stance = rng.uniform(0.07, 0.105)
    curves = _blend([steps[k % len(steps)](beats, stance) for k in range(count)], beats)
    for name, delay in (("left", 0.0), ("right", 1.0)):
        moves = [move(beats, delay * phase) for move, phase in (arms[k % len(arms)] for k in range(count))]
        for key, value in _blend(moves, beats).items():
            curves[f"{name}_{key}"] = value
        if narrow:
            curves[f"{name}_elbow"] = np.minimum(curves[f"{name}_elbow"] + 0.45, 2.3)
        wobble = rng.uniform(0, 2 * PI)
        curves[f"{name}_palm"] = curves[f"{name}_palm"] + 0.35 * np.sin(PI * beats / 4 + wobble)
        curves[f"{name}_wrist"] = 0.18 * np.sin(PI * beats / 2 + wobble)
        curves[f"{name}_curl"] = 0.14 + 0.10 * _wave(beats, 8, wobble)
        curves[f"{name}_spread"] = 1.0 + 0.25 * np.sin(PI * beats / 4 + wobble)
    groove = rng.uniform(0.7, 1.2)
    half, slow = np.sin(PI * beats / 2), np.sin(PI * beats / 8 + rng.uniform(0, 2 * PI))
    curves |= {
        "z": np.zeros_like(beats),
        "left_foot_z": np.zeros_like(beats) + 0.01,
        "right_foot_z": np.zeros_like(beats) - 0.01,
        "turnout": np.full_like(beats, rng.uniform(0.25, 0.5)),
        "hips_turn": groove * (0.18 * half + 0.30 * slow),
        "hips_tilt": groove * 0.07 * half,
        "twist": -groove * 0.16 * half,
        "lean": groove * 0.06 * np.sin(PI * beats / 2 + 0.7),
        "bow": 0.03 + 0.05 * _wave(beats, 4),
        "head_turn": 0.22 * slow + 0.10 * half,
        "nod": 0.04 + 0.07 * _wave(beats, 1),
        "head_tilt": 0.08 * np.sin(PI * beats / 2 + 0.3),
        "blink": _blinks(times, rng),
        "mouth": 0.15 + 0.5 * _wave(beats, 4, rng.uniform()) ** 3,
        "smile": 0.5 + 0.4 * _wave(beats, 16, rng.uniform()),
    }
    return {key: np.broadcast_to(np.asarray(value, float), times.shape) for key, value in curves.items()}


def _blinks(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 open, 1 shut: a blink of 0.24 s every two to four seconds."""
    closed = np.zeros_like(times)
    for moment in np.cumsum(rng.uniform(2.0, 4.0, size=400)):
        closed = np.maximum(closed, np.clip(1 - np.abs(times - moment) / 0.12, 0, 1))
    return closed
