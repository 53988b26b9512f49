"""What the README names exists."""

import re
from pathlib import Path

import pytest

import steadydancer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_command_of_the_table_exists_and_every_command_is_in_the_table():
    named = set(re.findall(r"`([a-z-]+)", "".join(re.findall(r"^\| (`[^|]*)\|", README, re.MULTILINE))))
    commands = {command.name or command.callback.__name__ for command in steadydancer.app.registered_commands}
    assert commands <= named


@pytest.mark.parametrize("override", re.findall(r"`((?:[a-z_]+\.)+[a-z_0-9]+)=", README))
def test_every_key_named_is_a_key(override):
    from infra import config
    from infra.errors import UsageError

    try:
        config.load("demo", [f"{override}=x"])
    except UsageError as error:
        assert "unknown key" not in str(error)


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
    assert all((ROOT / link).exists() for link in re.findall(r"\]\(([^)]+)\)", README))
