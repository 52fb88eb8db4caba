"""Databases for Airflow whose state can be kept and brought back."""

import shutil
from pathlib import Path

import psutil
import psycopg2


class Sqlite:
    """A database in a file."""

    title = "SQLite"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "airflow.db"
        self.url = f"sqlite:///{self.file}"

    def cpu(self) -> float:
        """Return the seconds of CPU that a server has taken: there is none."""
        return 0.0

    def keep(self, name: str) -> None:
        """Save the content."""
        shutil.copy(str(self.file), str(self.file.with_name(f"{name}.db")))

    def bring_back(self, name: str) -> None:
        """Restore the saved content."""
        shutil.copy(str(self.file.with_name(f"{name}.db")), str(self.file))


class Postgres:
    """A database of a server that is ours alone."""

    title = "PostgreSQL"

    def __init__(self, process: psutil.Process, server: str) -> None:
        self.process = process
        self.server = server
        self.url = server.rpartition("/")[0] + "/airflow"
        self.copy("template1", "airflow")

    def cpu(self) -> float:
        """Return the seconds of CPU that the server has taken, with those of connections that have ended."""
        own = self.process.cpu_times()
        connections = [child.cpu_times() for child in self.process.children()]
        ended = own.children_user + own.children_system
        return float(ended + sum(times.user + times.system for times in [own, *connections]))

    def keep(self, name: str) -> None:
        """Save the content."""
        self.copy("airflow", name)

    def bring_back(self, name: str) -> None:
        """Restore the saved content."""
        self.copy(name, "airflow")

    def copy(self, source: str, copy: str) -> None:
        """Replace a database by a copy of another."""
        connection = psycopg2.connect(self.server)
        try:
            connection.autocommit = True  # it refuses this inside a transaction
            with connection.cursor() as cursor:
                cursor.execute(f'DROP DATABASE IF EXISTS "{copy}"')
                cursor.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{source}"')
        finally:
            connection.close()
