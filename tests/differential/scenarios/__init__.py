"""Scenarios by what they are about. Importing this makes them known (script.SCENARIOS)."""

import importlib

for _topic in ["topics", "classic_groups", "consumer_groups", "offsets", "configs", "records", "cluster", "clients", "restarts"]:
    importlib.import_module(f".{_topic}", __package__)
