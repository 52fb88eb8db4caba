"""A folder of files -> definitions and problems."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Tuple, Type, Union

from .definitions import Context, LoadResult, parse_dag_id
from .documents import Document, display_path, home_of, read_document
from .planning import define, further_problems
from .problems import Location, Problem, Rejected, in_order, internal_error, takes_too_long
from .reading import read_environment, read_pipeline
from .rules import check_cluster
from .time_limits import in_time
from .values import EnvironmentName, FamilyName, FolderName, PipelineName, Text
from .waiting import OtherDags, check_circles, wait_for_unknown

# Of what is left of a pass, for the environment, and then for all files: building takes four times as long.
READING = 0.4
MAX_LEVELS = 5  # of folders that are looked into, for definitions that stand too deep: os.walk calls itself for each
# Of what reading leaves: to look up 100,000 DAGs takes a second. A worker reads up to ten files for it: it has READING.
AWAITING = 0.1
PROTOCOL = 1  # how factory.py calls this package; in the manifest of a release


def load(root: Path, environment: Optional[str], dag_id: Optional[str] = None) -> LoadResult:
    """Read all definitions of a folder for an environment, or only the one that a DAG id names.

    Args:
        root: A folder such as ``dags/etl``, which holds ``configs`` and ``pipelines``, or a release of it.
        environment: The name of a file in ``configs``.
        dag_id: Read nothing that another DAG is made of, but for those that this one waits for.

    Returns:
        Definitions in the order of files; problems in the order of files and places, each once.
    """
    try:
        (read,) = in_time([environment], lambda name: read_context(root, name), READING)
    except Rejected as rejected:
        return LoadResult([], list(rejected.args))
    if read is None:
        return LoadResult([], [takes_too_long(display_path(root, root / "configs" / f"{environment}.yaml"))])
    context = read  # a name of its own for the type
    names = parse_dag_id(dag_id, context.folder) if dag_id else None
    problems: List[Problem] = []
    if names:
        files, provider = [root / "pipelines" / names[0] / f"{names[1]}.yaml"], names[2]
    else:
        files, problems = pipeline_files(root)
        provider = None
    of_files = in_time(files, lambda file: read_file(root, file, context, provider), READING)
    results = {
        file: result or LoadResult([], [takes_too_long(display_path(root, file))])
        for file, result in zip(files, of_files)
    }
    problems += [problem for result in results.values() for problem in result.problems]
    definitions, of_waiting = find_awaited(root, context, results, {} if provider else results, provider)
    return LoadResult(definitions, in_order([*problems, *of_waiting]))


def find_awaited(
    root: Path,
    context: Context,
    results: Mapping[Path, LoadResult],
    known: Optional[Dict[Path, LoadResult]] = None,
    provider: Optional[str] = None,
) -> LoadResult:
    """Return the definitions in files that know what they wait for, and the problems of what cannot be awaited.

    Args:
        root: As :func:`load` has it.
        context: The environment.
        results: What the files hold.
        known: What all files hold that have been read before; others are added as they are needed.
        provider: The only one whose DAGs are asked for: to look for circles takes all.
    """
    read: Dict[Path, LoadResult] = {} if known is None else known

    @lru_cache(maxsize=None)  # for all providers that are awaited
    def read_or_reject(file: Path) -> Union[Document, Rejected]:
        try:
            return read_document(root, file)
        except Rejected as rejected:
            return rejected

    def read_once(_: Path, file: Path) -> Document:
        result = read_or_reject(file)
        if isinstance(result, Rejected):
            raise result
        return result

    @lru_cache(maxsize=None)  # a path takes as long as all else that is looked up
    def read_for(pipeline: str, of_provider: Optional[str]) -> Optional[LoadResult]:
        file = root / "pipelines" / f"{pipeline}.yaml"
        if file not in read and os.path.lexists(file):
            if of_provider is not None:  # of each file, only the DAG that is awaited
                return read_file(root, file, context, of_provider, read_once)
            read[file] = read_file(root, file, context)
        return read.get(file)

    def lookup(pipeline: str, of_provider: str) -> Optional[LoadResult]:
        return read_for(pipeline, of_provider if provider is not None else None)

    def names() -> List[str]:
        return [f"{file.parent.name}/{file.stem}" for file in pipeline_files(root)[0]]

    def resolve(file: Path) -> LoadResult:
        return others.resolve(results[file].definitions)

    others = OtherDags(lookup, names)
    resolved = in_time(list(results), resolve, READING if provider else AWAITING)
    found = [each or unresolved(root, file, results[file]) for file, each in zip(results, resolved)]
    definitions = [definition for result in found for definition in result.definitions]
    problems = [problem for result in found for problem in result.problems]
    if provider is not None or not others.found:
        return LoadResult(definitions, problems)
    all_definitions = {each.dag_id: each for result in results.values() for each in result.definitions}
    all_definitions.update((each.dag_id, each) for each in definitions)
    asked = list(all_definitions)
    while others.found:
        dag_id, awaited = others.found.popitem()
        if dag_id not in all_definitions:  # a DAG of a file that nobody has asked for
            (all_definitions[dag_id],) = others.resolve([awaited]).definitions
    return LoadResult(definitions, problems + check_circles(all_definitions, asked))


def unresolved(root: Path, file: Path, result: LoadResult) -> LoadResult:
    """Return definitions that take too long to look up what they wait for: they are there, as others made it slow."""
    message = "it takes too much of the scheduler's time to read what its DAGs wait for, so that they go on waiting"
    problem = Problem(Location(display_path(root, file)), message, "shorten the files that they wait for", "internal")
    return LoadResult(list(map(wait_for_unknown, result.definitions)), [problem])


def read_context(root: Path, environment: Optional[str]) -> Context:
    """Read the environment that the Airflow option [etl] environment names.

    Raises:
        Rejected: There is no such environment, or something is wrong with it.
    """
    names = environment_names(root)
    configs = Location(display_path(root, root / "configs"))
    folder = home_of(root).name
    if not FolderName.pattern.fullmatch(folder):
        message = f"{folder!r} is not {FolderName.what()}"
        raise Rejected(Problem(Location(display_path(root, root)), message, "rename the folder"))
    if not names:
        hint = "one is configs/<name>.yaml; configs is deployed with the folder"
        raise Rejected(Problem(configs, "there is no environment", hint))
    if environment not in names:
        message = f"unknown environment '{environment}'" if environment else "no environment is chosen"
        hint = f"set the Airflow option [etl] environment (AIRFLOW__ETL__ENVIRONMENT) to one of: {', '.join(names)}"
        raise Rejected(Problem(configs, message, hint))
    file = root / "configs" / f"{environment}.yaml"
    if not EnvironmentName.pattern.fullmatch(str(environment)):
        message = f"{environment!r} is not {EnvironmentName.what()}"
        raise Rejected(Problem(Location(display_path(root, file)), message, "rename the file"))
    document = read_document(root, file)
    model = read_environment(document)
    problems = [*document.problems, *document.credentials.values()]
    for name, cluster in model.clusters.items():
        problems += check_cluster(document, ("clusters", name), cluster)
    if problems:
        raise Rejected(*problems)
    return Context(str(environment), model, document, names, folder)


def environment_names(root: Path) -> List[str]:
    """Return the names of the files in ``configs``; hidden ones are not meant, such as an editor's lock."""
    try:
        names = os.listdir(str(root / "configs"))  # pathlib raises where the folder has just gone
    except OSError:
        return []
    return sorted(name[: -len(".yaml")] for name in names if name.endswith(".yaml") and not name.startswith("."))


def pipeline_files(root: Path) -> Tuple[List[Path], List[Problem]]:
    """Return whatever is called like a definition or is a link, and the folders that cannot be read.

    Hidden files are not meant, nor are those that an editor or a copy has not finished with.
    """
    problems: List[Problem] = []

    def unreadable(error: OSError) -> None:
        message, hint = f"cannot be read: {error.strerror}", "it is the folder of the definitions"
        problems.append(Problem(Location(display_path(root, Path(error.filename))), message, hint))

    files: List[Path] = []
    base = str(root / "pipelines")
    for top, folders, names in os.walk(base, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if top.count(os.sep) - base.count(os.sep) == MAX_LEVELS:
            files += [Path(top, name) for name in folders]
            folders.clear()
        visible = (name for name in (*folders, *names) if not name.startswith("."))
        files += [Path(top, name) for name in visible if is_yaml(name) or os.path.islink(os.path.join(top, name))]
    return sorted(files), problems


def is_yaml(name: str) -> bool:
    """Return whether a file is called like YAML, in whatever way."""
    return name.lower().endswith((".yaml", ".yml"))


def read_file(
    root: Path,
    file: Path,
    context: Context,
    provider: Optional[str] = None,
    read: Callable[[Path, Path], Document] = read_document,
) -> LoadResult:
    """Read the definitions of one file, or of one of its providers; ``read`` may keep what it has read."""
    path, hint = display_path(root, file), "a definition is pipelines/<family>/<name>.yaml"
    document = None
    try:
        if file.suffix != ".yaml" or file.parent.parent != root / "pipelines" or os.path.islink(file.parent):
            raise Rejected(Problem(Location(path), "is not called or placed like a definition", hint))
        kinds: List[Tuple[str, Type[Text]]] = [(file.parent.name, FamilyName), (file.stem, PipelineName)]
        for text, kind in kinds:
            if not kind.pattern.fullmatch(text):
                raise Rejected(Problem(Location(path), f"{text!r} is not {kind.what()}", hint))
        document = read(root, file)
        pipeline, schema_problems = read_pipeline(document, provider)
        definitions, problems = define(document, pipeline, context) if pipeline else LoadResult([], [])
        if schema_problems or document.problems:
            # Those of one provider are for nobody who mends the file, and a worker has little time.
            further = further_problems(document, schema_problems, context) if provider is None else ()
            problems += [*document.problems, *schema_problems.values(), *further]
        return LoadResult(definitions, problems)
    except Rejected as rejected:
        return LoadResult([], list(rejected.args))
    except Exception as error:
        is_quoted = document is not None and not document.credentials
        return LoadResult([], [internal_error(path, error, is_quoted)])
