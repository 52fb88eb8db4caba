"""Airflow and the emulated AWS on this machine."""
