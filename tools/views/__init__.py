"""Definitions, requests, schedules and changes, for a person to read."""
