"""The launcher: reads the command line, sets up what a command needs and hands over to ``tools.commands.<command>``.

It runs on any Python from 3.7 with nothing installed; the commands run in an environment of their own. A new command is
a module of ``tools/commands/`` and a line in ``COMMANDS``.
"""

import signal

if __name__ == "__main__":
    # Before the imports below: a Ctrl-C waits until run_command, which has a sentence for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])

import difflib
import importlib
import os
import sys
from typing import Any, Dict, List, Tuple

from tools.setup.environments import AIRFLOW, AWS, DEFINITIONS, GENERATIONS, PEERS, Environment, SetupError, ensure
from tools.terminal import print_status, run_command

# The environments that each command needs; the first one runs it, or the Python of the launcher if there is none.
COMMANDS: Dict[str, Tuple[Environment, ...]] = {
    "check": (DEFINITIONS,),
    "show": (DEFINITIONS,),
    "plan": (DEFINITIONS,),
    "new": (DEFINITIONS,),
    "generate": (DEFINITIONS,),
    "deploy": (DEFINITIONS,),
    "releases": (DEFINITIONS,),
    "run": (AIRFLOW, AWS),
    "test": (AIRFLOW, AWS),
    "upgrade-test": (AIRFLOW, AWS),
    "bench": (AIRFLOW, PEERS),
}


def load(name: str) -> Any:
    """Return the module of a command; importing it needs the standard library alone."""
    return importlib.import_module(module_of(name))


def module_of(name: str) -> str:
    """Return the name of a command's module."""
    return f"tools.commands.{name.replace('-', '_')}"


def usage() -> str:
    """Return the text of ``./etl --help``."""
    lines = ["usage: ./etl COMMAND [ARGUMENT...]", ""]
    for name in COMMANDS:
        command = load(name)
        lines.append(f"  {name:<12} {command.SUMMARY}")
        lines.extend(f"             {example}" for example in command.EXAMPLES)
    lines += ["", "./etl COMMAND --help explains one of them."]
    return "\n".join(lines)


def main(arguments: List[str]) -> int:
    """Run one command; return only if it does not start."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else "./etl --help lists them"
        print_status(f"there is no command {name!r}; {hint}")
        return 2
    options = load(name).parse(rest)  # help, and most wrong use, need no set-up: it exits here
    airflow = GENERATIONS[getattr(options, "airflow", None) or "2.2.2"]  # that of ./etl run and ./etl test
    try:
        pythons = [ensure(airflow if environment is AIRFLOW else environment) for environment in COMMANDS[name]]
    except SetupError as error:
        print_status(str(error))
        return 1
    except KeyboardInterrupt:
        print_status("set-up interrupted; the next ./etl continues it")
        return 130
    # Become the command, so that signals and the exit status are its own; while it is imported, a Ctrl-C waits again.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    python = str(pythons[0] if pythons else sys.executable)
    return os.execv(python, [python, "-m", module_of(name), *rest])


if __name__ == "__main__":
    run_command(main)
