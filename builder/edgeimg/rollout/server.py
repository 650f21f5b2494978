"""hawkBit's Management API, version 1: JSON over HTTP with Basic authentication."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from edgeimg.errors import RolloutError
from edgeimg.fetch.api import Answer, Api
from edgeimg.text import json_text
from edgeimg.text.json_text import Json, JsonObject

PAGE = 500
"""The most entries that the server returns at once."""
PAGES = 2000
"""The most pages of one list: a million entries."""
_ROOT = "/rest/v1"


def quoted(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def credentials(env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Name and password of the desk. Raises RolloutError when one is not set."""
    user, password = env.get("EDGEIMG_ROLLOUT_USER"), env.get("EDGEIMG_ROLLOUT_PASSWORD")
    if not user or not password:
        raise RolloutError(
            "the roll-out server needs a name and a password",
            hint="set EDGEIMG_ROLLOUT_USER and EDGEIMG_ROLLOUT_PASSWORD",
        )
    return user, password


class Server:
    """One roll-out server. All methods raise FetchError without an answer, and RolloutError for a
    refusal or an answer that is no JSON of the expected kind.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, path: str) -> JsonObject:
        """The object at a path below /rest/v1."""
        return self._object(self._call("GET", path), path)

    def count(self, path: str, query: str) -> int:
        """How many entries of a list match an RSQL query."""
        return self._number(self._page(path, {"q": query, "limit": 1, "offset": 0}), "total", path)

    def entries(self, path: str, query: str = "", **more: str) -> Iterator[JsonObject]:
        """All entries of a list, which the server returns page by page; `query` is RSQL."""
        start = 0
        for _ in range(PAGES):
            wanted: dict[str, str | int] = {"limit": PAGE, "offset": start, **more}
            if query:
                wanted["q"] = query
            page = self._page(path, wanted)
            for entry in page["content"]:
                yield self._checked(entry, path)
            start += len(page["content"])
            if not page["content"] or start >= self._number(page, "total", path):
                return
        raise self._odd(path, f"a list of more than {PAGES} pages")

    def post(self, path: str, body: Json = None) -> Json:
        """The answer to a change; None when it has no content."""
        data = None if body is None else json.dumps(body).encode()
        answer = self._call("POST", path, body=data)
        return self._parse(answer, path) if answer.body.strip() else None

    def _page(self, path: str, query: Mapping[str, str | int]) -> JsonObject:
        page = self._object(self._call("GET", path, query=query), path)
        if not isinstance(page.get("content"), list):
            raise self._odd(path, "it has no list 'content'")
        return page

    def _call(
        self, method: str, path: str, *, query: Mapping[str, str | int] | None = None,
        body: bytes | None = None,
    ) -> Answer:  # fmt: skip
        answer = self._api.call(method, f"{_ROOT}{path}", query=query, body=body)
        if 200 <= answer.status < 300:
            return answer
        if answer.status in (401, 403):
            raise RolloutError(
                f"{self._api.base} refuses the name or the password: {answer.status}",
                hint="check EDGEIMG_ROLLOUT_USER, EDGEIMG_ROLLOUT_PASSWORD and its permissions",
            )
        raise RolloutError(f"{self._api.base}: {method} {path}: {answer.status}{_why(answer)}")

    def _object(self, answer: Answer, path: str) -> JsonObject:
        return self._checked(self._parse(answer, path), path)

    def _checked(self, value: Json, path: str) -> JsonObject:
        if not isinstance(value, dict):
            raise self._odd(path, "an object is expected")
        return value

    def _number(self, value: JsonObject, key: str, path: str) -> int:
        found = value.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise self._odd(path, f"'{key}' is no number")
        return found

    def _parse(self, answer: Answer, path: str) -> Json:
        try:
            return json_text.parse(answer.body)
        except json_text.MalformedError as error:
            raise self._odd(path, str(error)) from error

    def _odd(self, path: str, why: str) -> RolloutError:
        return RolloutError(
            f"{self._api.base}: the answer to {path} cannot be used: {why}",
            hint="is this the address of hawkBit?",
        )


def _why(answer: Answer) -> str:
    """The message of an answer with an error, if there is one."""
    try:
        value = json_text.parse(answer.body, limit=1 << 16)
    except json_text.MalformedError:
        return ""
    message = value.get("message") if isinstance(value, dict) else None
    return f": {message[:300]}" if isinstance(message, str) else ""
