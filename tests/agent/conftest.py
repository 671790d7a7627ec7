"""Agents in front of the broker under test."""

import shutil

import pytest

from harness.agent import Agent


@pytest.fixture
def new_agent(broker):
    """Makes agents that are not started yet; all are ended and removed with the test."""
    made: list[Agent] = []

    def make(channels, bootstrap: str | None = None, **agent) -> Agent:
        made.append(Agent(bootstrap or broker.bootstrap, channels, **agent))
        return made[-1]

    yield make
    for agent in made:
        agent.kill()
        shutil.rmtree(agent.root, ignore_errors=True)
