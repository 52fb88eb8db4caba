"""What ``./etl check`` takes for a thousand DAGs, beside reading their YAML with PyYAML."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, List

from tools import ROOT
from tools.bench.race import BenchError
from tools.bench.report import MIB, grid, seconds
from tools.local.engine import inherited

FILES, PROVIDERS = 200, 5
LIMIT = 2.0  # of the time that PyYAML's own loader takes: what is beyond it is ours
MEMORY = 300 * MIB
ENVIRONMENTS = ("development", "staging")
CONFIG = """\
region: eu-west-1
clusters:
  default: {cluster: etl, launch_type: FARGATE, subnets: [subnet-1], logs: {group: /ecs/etl, prefix: etl}}
"""
PIPELINE = """\
description: Pipeline {0}, with as much to it as one that is in use.
start_date: 2022-01-01
schedule: "0 3 * * *"
defaults: {{cpu: 1024, memory: 8192, retries: 2}}
tasks:
  fetch:
    task_definition: fetch{0}
    command: [fetch, --day, "{{{{ ds }}}}", --territory, "{{{{ provider.territory }}}}"]
  parse:
    task_definition: parse{0}
    command: [parse, --day, "{{{{ ds }}}}"]
    depends_on: [fetch]
  load:
    task_definition: load{0}
    depends_on: [parse]
providers:
"""
PROVIDER = """\
  p{0}:
    variables: {{territory: t{0}}}
    tasks:
      parse: {{memory: 4096, environment: {{T: "{{{{ provider.territory }}}}"}}}}
"""
# In a process of its own: the memory is that of all it has done.
CHECK = """
import contextlib, io, json, re, sys, time
from pathlib import Path
import yaml
from tools import checkout
from tools.commands import check
etl = checkout.ETL = Path(sys.argv[1])
start = time.process_time()
for _ in checkout.environments(etl):
    for file in etl.glob("pipelines/*/*.yaml"):
        yaml.load(file.read_text(), Loader=yaml.SafeLoader)
read = time.process_time()
with contextlib.redirect_stdout(io.StringIO()) as output:
    status = check.main([])
end = time.process_time()
memory = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024
print(json.dumps({"status": status, "output": output.getvalue(), "read": read - start, "check": end - read,
                  "memory": memory}))
"""


def write(etl: Path) -> None:
    """Write the definitions: in each file, every provider overrides a task, so that nothing is shared."""
    providers = "".join(PROVIDER.format(number) for number in range(PROVIDERS))
    (etl / "pipelines" / "cwr").mkdir(parents=True)
    for number in range(FILES):
        (etl / "pipelines" / "cwr" / f"p{number}.yaml").write_text(PIPELINE.format(number) + providers)
    (etl / "configs").mkdir()
    for name in ENVIRONMENTS:
        (etl / "configs" / f"{name}.yaml").write_text(CONFIG)


def measure(notify: Callable[[str], None], repeats: int) -> List[Dict[str, Any]]:
    """Check the definitions some times; raise BenchError if that fails."""
    answers = []
    with tempfile.TemporaryDirectory(prefix="etl-bench-") as folder:
        etl = Path(folder) / "dags" / "etl"
        write(etl)
        for number in range(repeats):
            notify(f"./etl check, round {number + 1} of {repeats}")
            command = [sys.executable, "-W", "ignore", "-c", CHECK, str(etl)]
            environ = {**inherited(), "PYTHONPATH": os.fspath(ROOT)}
            done = subprocess.run(command, env=environ, capture_output=True, text=True)
            if done.returncode != 0:
                raise BenchError(f"./etl check cannot be measured:\n{done.stderr}")
            answer = json.loads(done.stdout)
            if answer["status"] != 0:
                raise BenchError(f"./etl check finds fault with the definitions that are measured:\n{answer['output']}")
            answers.append(answer)
    return answers


def report(answers: List[Dict[str, Any]]) -> str:
    """Return everything as Markdown."""
    check, read, memory = (median(answer[key] for answer in answers) for key in ("check", "read", "memory"))
    lines = [
        ["`./etl check`", seconds(check), ""],
        ["PyYAML's `SafeLoader` alone, of the same files as often", seconds(read), ""],
        ["ratio", f"{check / read:.2f} x", verdict(check / read, LIMIT, f"{LIMIT:.0f} x")],
        ["memory", f"{memory / MIB:.0f} MiB", verdict(memory, MEMORY, f"{MEMORY / MIB:.0f} MiB")],
    ]
    heading = f"### `./etl check` of {FILES * PROVIDERS:,} DAGs in {FILES} files and two environments"
    return f"{heading}\n\n{grid(['', 'measured', 'wanted'], lines)}"


def verdict(value: float, limit: float, words: str) -> str:
    """Return what is wanted, and whether it is met."""
    return f"at most {words}: {'met' if value <= limit else '**not met**'}"
