"""What is to count after a deploy, and what that changes of the DAGs."""

from typing import List, Tuple

from orchestrator import PROTOCOL, Problem

from tools.deploying import releases
from tools.deploying.bucket import Files, Folder, Refused, Target
from tools.deploying.releases import CODE, Release, digests, stage
from tools.deploying.sources import FACTORY, IGNORE, PACKAGES
from tools.deploying.state import State, read_files
from tools.views.comparison import DagChange, compare
from tools.views.plan import print_text

Side = Tuple[Release, Files]  # a release, and its definitions


def whole_release(folder: Folder, contents: Files) -> Side:
    """Return the release of a checkout; its bytecode is known then."""
    files = {path: content for path, content in contents.items() if path not in (FACTORY, IGNORE)}
    files.update(releases.compile_package(folder.target, files))
    folder.know(files.values())
    release = Release(digests(files), {}, PROTOCOL)
    return release, {path: files[path] for path in release.definitions}


def changed_release(folder: Folder, state: State, contents: Files, only: str) -> Side:
    """Return the release that counts but for one file, or its deletion.

    Raises:
        Refused: What stays would read the file in another way than this checkout.
    """
    counting, own = state.release, digests(contents)
    if not state.counting:
        raise Refused("there is no release yet of which one file could change; deploy everything, without --only")
    packages = [{path: files[path] for path in files if CODE.fullmatch(path)} for files in (own, counting.files)]
    if only != PACKAGES and packages[0] != packages[1]:
        raise Refused(
            f"the release that counts has another orchestrator/ than this checkout, and may read {only} in another way;"
            f"\nstart from its commit, {state.first.commits.get('', 'unknown')}, or deploy everything, without --only"
        )
    files = {path: digest for path, digest in counting.files.items() if path != only}
    release = counting._replace(files={**files, only: own[only]} if only in own else files)
    return release, read_files(folder, state.counting, release, release.definitions)


def plan(target: Target, before: Side, after: Side, only: str) -> Release:
    """Print what changes of the DAGs, and return the release after with its DAGs; ``only`` is the path that goes alone.

    Raises:
        Refused: There would be problems, or DAGs go that nobody has removed.
    """
    old, release = before[0], after[0]
    if any(map(is_pipeline, before[1])) and not any(map(is_pipeline, after[1])):
        raise Refused("there is no definition in dags/etl/pipelines, and all that are deployed would go")
    found = releases.load_staged(target, after[1])
    had = {problem.location.path for problem in releases.load_staged(target, before[1]).problems} if only else set()
    texts = [str(problem) for problem in found.problems if problem.location.path not in had]
    if texts:
        raise Refused("\n\n".join([f"{target} would have problems:", *texts]))
    if only != PACKAGES:  # with which the package stays that has made them
        release = release._replace(dags=releases.dags_of(found))
    print_dags(target, before, (release, after[1]))
    same = {path for path, digest in old.files.items() if release.files.get(path) == digest}
    kept = sorted(dag_id for dag_id, path in old.dags.items() if path in same and dag_id not in release.dags)
    if kept:
        raise Refused(f"the new package would no longer give {', '.join(kept)}, though the definition stays as it is")
    return release


def is_pipeline(path: str) -> bool:
    """Return whether a path is a pipeline's."""
    return path.startswith("pipelines/")


def print_dags(target: Target, before: Side, after: Side) -> List[Problem]:
    """Print what happens to the DAGs of the environment, as ./etl plan does; return the problems after.

    Both sides are read with today's package. What only the package of one side reads comes or goes, too.
    """
    with stage(target, before[1]) as old, stage(target, after[1]) as new:
        comparison = compare(str(target), old, new)
    dags = comparison.environments.get(target.environment, [])
    for kind, one, other in (("removed", before[0], after[0]), ("added", after[0], before[0])):
        for dag_id in sorted({*one.dags} - {*other.dags} - {dag.dag_id for dag in dags}):
            dags.append(DagChange(dag_id, f"dags/{target.folder}/{one.dags[dag_id]}", kind, [], [], []))
    print_text(comparison._replace(environments={target.environment: dags}, problems=[]))
    return comparison.problems
