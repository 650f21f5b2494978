"""A recipe and the ones that it includes → one table, and where each key of it was written.

`include` names files relative to the one that names them, or built-in recipes (`edgeimg:gateway`).
They are read in their order, the including file last: tables are merged, lists appended, the rest
replaced by the later one. `[k3s] source = "none"` drops the [k3s] of earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeimg import builtin
from edgeimg.errors import RecipeError
from edgeimg.recipe.model import K3S, drops_k3s, merge
from edgeimg.text import toml_text
from edgeimg.text.toml_text import DEPTH, Kind, Location, Place, closest

KEY = "include"
_KIND = Kind(
    name="recipe", error=RecipeError, hint="`edgeimg init` writes a commented one to start from"
)


@dataclass(frozen=True, kw_only=True)
class Document:
    """The merged tables of a recipe."""

    data: dict[str, object] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    """All that was read, in the order of reading."""
    places: Mapping[Location, Place] = field(default_factory=dict)

    def place(self, location: Location) -> Place:
        """Where a key was written, or the closest table around it."""
        return closest(self.places, location[:DEPTH], Place(path=self.files[-1], line=1))


def read(
    path: Path, around: tuple[Path, ...] = (), *, own: bool = True, first: tuple[str, ...] = ()
) -> Document:
    """Read a recipe with everything that it includes; `around` are the files that led here.

    What a built-in recipe (`own` is false) names is built in, too. `first` are recipes that it
    includes before those that it names.

    Raises RecipeError for what cannot be read or is not TOML, and for files that include
    themselves.
    """
    data, lines = toml_text.read(path, _KIND)
    whole = Document()
    for name in (*first, *_included(path, data, lines)):
        mine = own and not name.startswith(builtin.PREFIX)
        other = path.parent / name if mine or not own else builtin.find(name)
        chain = (*around, path)
        if other.resolve() in {known.resolve() for known in chain} or len(chain) > DEPTH:
            raise RecipeError(f"{path}:{lines[KEY,]}: {KEY}: {name} includes itself")
        whole = _over(whole, read(other, chain, own=mine))
    places = {location: Place(path=path, line=line) for location, line in lines.items()}
    return _over(
        whole, Document(data=data if own else _built_in(data), files=(path,), places=places)
    )


def _included(path: Path, data: dict[str, object], lines: Mapping[Location, int]) -> list[str]:
    names = data.pop(KEY, [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise RecipeError(
            f"{path}:{lines.get((KEY,), 1)}: {KEY}: expected a list of recipes, such as "
            f'["gateway.toml"], found {names!r}'
        )
    return names


def _built_in(data: dict[str, object]) -> dict[str, object]:
    """The values of a built-in recipe, its paths with the prefix that leads to edgeimg's data."""
    return {key: _prefixed(value) for key, value in data.items()}


def _prefixed(value: object) -> object:
    match value:
        case dict():
            return _built_in(value)
        case list():
            return [_prefixed(item) for item in value]
        case str() if value.partition("/")[0] in builtin.ROOTS and "/" in value:
            return builtin.PREFIX + value
    return value


def _over(base: Document, top: Document) -> Document:
    if drops_k3s(top.data):
        kept = {key: value for key, value in base.data.items() if key != K3S}
        places = {at: place for at, place in base.places.items() if at[:1] != (K3S,)}
        base = replace(base, data=kept, places=places)
    places = {**base.places, **top.places, **_merged(base, top, base.data, top.data)}
    return Document(data=merge(base.data, top.data), files=(*base.files, *top.files), places=places)


def _merged(
    base: Document,
    top: Document,
    mine: dict[str, object],
    theirs: dict[str, object],
    at: Location = (),
) -> dict[Location, Place]:
    """Where keys and items of tables and lists that both have were written, by their place in the
    merged ones.
    """
    places: dict[Location, Place] = {}
    for key, old in mine.items():
        location, new = (*at, key), theirs.get(key)
        if key not in theirs:
            places[location] = base.place(location)
        elif isinstance(old, dict) and isinstance(new, dict):
            places |= _merged(base, top, old, new, location)
        elif isinstance(old, list) and isinstance(new, list):
            places |= {(*location, n): base.place((*location, n)) for n in range(len(old))}
            written = top.place(location)
            places |= {(*location, len(old) + n): written for n in range(len(new))}
    return places
