"""Going back to a release that the bucket has: ``current`` is all that is written."""

import argparse
from pathlib import Path
from typing import Optional

from orchestrator import PROTOCOL

from tools.checkout import definition_files
from tools.deploying import releases, sources
from tools.deploying.bucket import REQUIREMENTS, Folder, Refused
from tools.deploying.deploy import ask, print_dags
from tools.deploying.releases import Activation, State, digests, place_of
from tools.deploying.sources import PACKAGES


def roll_back(folder: Folder, etl: Path, options: argparse.Namespace) -> int:
    """Make a release count that the bucket has; return the exit status."""
    at_hand = releases.by_sha(file.read_bytes() for file in definition_files(etl))
    state = releases.read_state(folder, at_hand)
    name = choose_release(state, options.to)
    if name == state.activations[0].release:
        print(f"release {name} counts already")
        return 0
    release = releases.read_release(folder, state.listing, name)
    if release is None or release.protocol > PROTOCOL:
        why = "is not whole: it has no manifest of its own" if release is None else "needs a newer factory.py"
        raise Refused(f"release {name} {why}; ./etl releases {folder.environment} lists the others")
    releases.refuse_incomplete(state.listing, release)
    at_hand.update(releases.by_sha(state.definitions.values()))
    definitions = releases.read_definitions(folder, state.listing, release, at_hand)
    problems = print_dags(folder, (state.release, state.definitions), (release, definitions))
    if problems:
        note = "\nThe package of this checkout, unlike its own perhaps, has problems with it:"
        print("\n\n".join([note, *map(str, problems)]))
    there = digests(folder.read({REQUIREMENTS} & {*state.listing.objects}))
    if not folder.is_sandbox and there.get(REQUIREMENTS) != release.files.get(PACKAGES):
        print("\nIts requirements.txt is not the one that MWAA has. If its package needs that, first:")
        print(f"  aws s3 cp {folder.address(place_of(name, PACKAGES))} {folder.address(REQUIREMENTS)}")
        print("and update the environment with its new version, see docs/operations.md")
    status = ask(f"Make release {name} count at {folder}?", options)
    if status is not None:
        return status
    own, *_ = [*(a for a in state.activations if a.release == name), Activation()]
    others = [activation for activation in state.activations if activation.release != name]
    again = sources.activation(etl, state, name, "", "")._replace(commits=own.commits)
    releases.activate(folder, state, [again, *others])
    releases.refuse_incomplete(folder.list(), release)
    print(f"\nrelease {name} counts. MWAA copies that within about 30 s; do not trigger a DAG for a minute.")
    return 0


def choose_release(state: State, beginning: Optional[str]) -> str:
    """Return the release to go back to: the one before, or the one whose id begins so."""
    if beginning is not None:
        names = [name for name in releases.stored(state.listing) if name and name.startswith(beginning)]
        if len(names) != 1:
            raise Refused(f"{beginning!r} begins {len(names)} of the releases that ./etl releases lists")
        return names[0]
    before = [activation.release for activation in state.activations[1:2]]
    if not any(before):
        raise Refused(
            "there is no release to go back to; deploy the commit that is to count:"
            "\n  git switch --detach <commit>\n  ./etl deploy <environment>"
        )
    return before[0]
