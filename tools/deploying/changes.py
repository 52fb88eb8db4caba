"""What a deploy changes, of the DAGs and in the bucket, and in which order."""

import math
from typing import Dict, Mapping, Sequence

from tools.deploying.bucket import COMMIT, IGNORE, REQUIREMENTS, Change, Deployed, Target, display_key, stage, tree
from tools.deploying.upload_order import Place, Refused, parse_tree, upload_order, write_tree
from tools.views.comparison import DagChange, compare
from tools.views.plan import print_text


def after_deploy(
    target: Target, deployed: Deployed, new: Mapping[str, bytes], only: str, commit: str
) -> Dict[str, bytes]:
    """Return what the bucket is to have, by key; ``only`` is the key that goes alone, or "" for all."""
    files = {key: content for key, content in deployed.files.items() if key != only} if only else {}
    files.update({key: content for key, content in new.items() if key == (only or key)})
    key = target.prefix + COMMIT
    before = deployed.files.get(key, b"").decode("ascii", "replace")
    files[key] = commit_text(before, commit, only.replace(target.prefix, ""), only in new).encode()
    return files


def commit_text(before: str, commit: str, path: str, is_there: bool) -> str:
    """Write which commit is deployed: one for all, and one for each file that was deployed alone since."""
    if not path:
        return f"{commit}\n"
    first, *others = before.splitlines() or [""]
    others = [line for line in others if not line.endswith(f" {path}")]
    own = [f"{commit} {path}"] if is_there and commit != first else []
    return "\n".join([first, *sorted(others + own)]) + "\n"


def changes(target: Target, deployed: Deployed, after: Mapping[str, bytes], only: str, pause: int) -> Change:
    """Return what to write, in a harmless order; raise Refused where there is none, or where DAGs go unseen."""
    before, new = tree(target, deployed.files), tree(target, after)
    place = Place(target.folder, target.environment)
    if any(map(is_definition, before)) and not any(map(is_definition, new)):
        raise Refused("there is no definition in dags/etl/pipelines, and all that are deployed would go")
    was, will_be = parse_tree(before, place), parse_tree(new, place)
    if was.error:
        print(f"The deployed DAGs cannot be read with their own factory: {was.error}\n")
    known = {path for path, _ in was.problems} if only else set()
    texts = [text for path, text in will_be.problems if path not in known] + [will_be.error] * bool(will_be.error)
    if texts:
        raise Refused("\n\n".join([f"{target} would have problems:", *texts]))
    print_plan(target, before, new)
    others = [] if only else deployed.others
    # Until it is finished, an interrupted deploy reports the requirements again, and is not recorded as this commit.
    order = upload_order(before, new, place)
    steps = [[target.prefix + path for path in step] for step in order.steps]
    all_steps = [[IGNORE], *steps, others, [REQUIREMENTS], [target.prefix + COMMIT]]
    differs = {*others, *(key for key in {*deployed.files, *after} if deployed.files.get(key) != after.get(key))}
    waits = {step[0]: pause for step in steps[1:]} if order.matters else {}
    first = pause - age_of_the_rest(target, deployed, [key for step in steps for key in step])
    if first > 0 and "factory.py" in before:  # without it, nothing is parsed
        waits[steps[0][0]] = math.ceil(first)
    writes = [{key: after.get(key) for key in step if key in differs} for step in all_steps]
    return Change([step for step in writes if step], waits)


def age_of_the_rest(target: Target, deployed: Deployed, keys: Sequence[str]) -> float:
    """Return how many seconds ago anything was written that these keys may need: what is of another stage.

    MWAA may not have copied it, as when a deploy was interrupted between two steps and is run again at once.
    """
    stages = {stage(target, key) for key in keys}
    there = {key: stage(target, key) for key in deployed.files if key.startswith(target.prefix)}
    ages = [deployed.ages[key] for key, of in there.items() if of != COMMIT and stages - {of}]
    return min(ages, default=math.inf)


def is_definition(path: str) -> bool:
    """Return whether a path below our folder is a pipeline's."""
    return path.startswith("pipelines/")


def print_plan(target: Target, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Print what happens to the DAGs of the environment; raise Refused where one would go that nobody removes.

    ./etl plan reads both sides with today's factory. A DAG that only the deployed one reads goes too.
    """
    with write_tree(before, target.folder) as old, write_tree(after, target.folder) as new:
        comparison = compare(str(target), old, new)
    dags = comparison.environments.get(target.environment, [])
    place = Place(target.folder, target.environment)
    there, stays = parse_tree(before, place).dags, parse_tree(after, place).dags
    unseen = {dag_id: there[dag_id] for dag_id in sorted({*there} - {*stays, *(dag.dag_id for dag in dags)})}
    files = {dag_id: path.split("/", 2)[-1] for dag_id, path in unseen.items()}  # below our folder
    kept = [dag_id for dag_id, file in files.items() if before.get(file) == after.get(file)]
    dags += [DagChange(dag_id, path, "removed", [], [], []) for dag_id, path in unseen.items()]
    print_text(comparison._replace(environments={target.environment: dags}, problems=[]))
    if kept:
        raise Refused(
            f"the new factory.py would no longer give {', '.join(kept)}, though the definition stays as it is"
        )


def print_change(change: Change) -> None:
    """Print what is to be written, in its order."""
    print()
    for key, content in change.writes.items():
        if key in change.waits:
            print(f"  wait {change.waits[key]} s for MWAA to copy what is there, before")
        print(f"  delete  {display_key(key)}" if content is None else f"  upload  {key}  {len(content):,} bytes")
