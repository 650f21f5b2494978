"""A server with the layout of hawkBit 1.0: what the roll-out agent and the desk use of it.

Both sides of it keep the rules that were seen at the real one: 410 for a report after the last
one, 400 for `<` in a report, a new order that comes as a cancellation of the old one, percentages
of what earlier groups left, thresholds that mean "more than".

    python3 -m tests.hawkbit

serves in a process of its own: it prints its address and ends with its standard input.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    import pytest

Json = Any
Headers = dict[str, str]
PASSWORD = "admin:s3cret"
STATES = ("RUNNING", "FINISHED", "ERROR", "NOTSTARTED", "SCHEDULED", "CANCELLED", "ABORTED")


@dataclass
class Target:
    """A gateway that is registered."""

    id: str
    token: str
    attributes: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    status: str = "registered"


@dataclass
class Action:
    """An order for one target."""

    id: int
    target: str
    set: int
    rollout: int = 0
    group: int = 0
    status: str = "RUNNING"
    code: int | None = None
    canceling: bool = False
    began: int = field(default_factory=lambda: _now())
    changed: int = 0
    deployment: dict[str, str] = field(
        default_factory=lambda: {"download": "forced", "update": "forced"}
    )
    reports: list[Json] = field(default_factory=list)
    cancel_reports: list[Json] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.status == "RUNNING"


@dataclass(frozen=True)
class Request:
    """A request as it came in: its first line, its headers in their order, its body."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class RefusedError(Exception):
    """An answer with another status than 200."""


class _Listener(ThreadingHTTPServer):
    # Connections that wait: a fleet that polls at once, with a connection for each request.
    request_queue_size = 1024


class HawkBit:
    """The server and what it knows; `url` is its address."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self.modules: dict[int, Json] = {}
        self.sets: dict[int, Json] = {}
        self.rollouts: dict[int, Json] = {}
        self.actions: dict[int, Action] = {}
        self._orders: dict[str, list[Action]] = {}
        self._counts: dict[tuple[int, int], Counter[str]] = {}
        """How many actions of a roll-out's group have each status."""
        self.requests: list[tuple[str, str]] = []
        self.keeps_requests = True
        self.recorded: list[Request] | None = None
        """Whole requests, where a test wants them."""
        self.answers: dict[str, tuple[int, bytes]] = {}
        """Answers in place of the usual ones, by method and path."""
        self.ready_after = 1
        self.shows_tokens = True
        self._lock = threading.RLock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one packet, not one of headers and one of its body

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = self.rfile.read(length)
                if outer.recorded is not None:
                    found = tuple(self.headers.items())
                    outer.recorded.append(Request(self.requestline, found, body))
                status, answer = outer.respond(self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = _Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, *ids: str, **attributes: str) -> None:
        """Register gateways that have polled just now."""
        for one in ids:
            self.targets[one] = Target(one, f"token-{one}", dict(attributes), _now())

    def order(self, target: str, version: str, *, url: str = "", sums: str = "", **deployment: str
              ) -> Action:  # fmt: skip
        """Assign a version to one gateway; an order that is open is cancelled first."""
        number = len(self.sets) + 1
        more = [{"key": k, "value": v} for k, v in (("url", url), ("sums", sums)) if v]
        self.modules[number] = {"id": number, "name": "gw", "version": version, "metadata": more}
        self.sets[number] = {"id": number, "version": version, "modules": [{"id": number}]}
        return self._assign(target, number, deployment)

    def _assign(self, target: str, set_id: int, deployment: dict[str, str], **more: Any) -> Action:
        for open_one in self._open(target):
            open_one.canceling = True
        action = Action(id=len(self.actions) + 1, target=target, set=set_id, **more)
        action.deployment |= deployment
        self.actions[action.id] = action
        self._orders.setdefault(target, []).append(action)
        self._counted(action.rollout, action.group)[action.status] += 1
        self.targets[target].status = "pending"
        return action

    def _open(self, target: str) -> list[Action]:
        return [one for one in self._orders.get(target, ()) if one.is_open]

    def _counted(self, rollout: int, group: int) -> Counter[str]:
        return self._counts.setdefault((rollout, group), Counter())

    def _end(self, action: Action, status: str) -> None:
        counts = self._counted(action.rollout, action.group)
        counts[action.status] -= 1
        counts[status] += 1
        action.status, action.changed = status, _now()

    def forget_orders(self) -> None:
        """Delete all orders."""
        for table in (self.actions, self._orders, self._counts):
            table.clear()

    def respond(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        with self._lock:
            split = urlsplit(path)
            if self.keeps_requests:
                self.requests.append((method, path))
            if (canned := self.answers.get(f"{method} {split.path}")) is not None:
                return canned
            query = {key: values[0] for key, values in parse_qs(split.query).items()}
            parts = [unquote(part) for part in split.path.strip("/").split("/")]
            try:
                data = json.loads(body) if body else None
                found = self._route(method, parts, headers, data, query)
            except RefusedError as refused:
                return int(refused.args[0]), json.dumps({"message": "refused"}).encode()
            return (201 if method == "POST" and parts[0] == "rest" else 200), json.dumps(
                found
            ).encode()

    def _route(
        self, method: str, parts: list[str], headers: Headers, data: Json, query: Headers
    ) -> Json:
        if parts[1:3] == ["controller", "v1"]:
            return self._device(method, parts[3:], headers, data)
        if parts[:2] == ["rest", "v1"]:
            return self._management(method, parts[2:], headers, data, query)
        raise RefusedError(404)

    # What devices use

    def _device(self, method: str, parts: list[str], headers: dict[str, str], data: Json) -> Json:
        target = self.targets.get(parts[0])
        if target is None or headers.get("Authorization") != f"TargetToken {target.token}":
            raise RefusedError(401)
        target.seen = _now()
        match method, parts[1:]:
            case "GET", []:
                return self._base(target)
            case "PUT", ["configData"]:
                if any(len(value) > 128 for value in data["data"].values()):
                    raise RefusedError(400)
                assert data["mode"] == "replace"
                target.attributes = data["data"]
                return None
            case "GET", ["deploymentBase", number]:
                return self._deployment(self._action(target, number))
            case "POST", ["deploymentBase", number, "feedback"]:
                return self._feedback(self._action(target, number), data)
            case "GET", ["cancelAction", number]:
                self._action(target, number)
                return {"id": number, "cancelAction": {"stopId": number}}
            case "POST", ["cancelAction", number, "feedback"]:
                action = self._action(target, number)
                action.cancel_reports.append(data["status"])
                action.canceling = False
                if data["status"]["execution"] == "closed":
                    self._end(action, "CANCELED")
                return None
        raise RefusedError(404)

    def _action(self, target: Target, number: str) -> Action:
        action = self.actions.get(int(number))
        if action is None or action.target != target.id:
            raise RefusedError(404)
        return action

    def _base(self, target: Target) -> Json:
        # Links as behind a proxy that the server does not know of: nobody can follow them.
        base = f"http://server.invalid:8080/DEFAULT/controller/v1/{target.id}"
        links: dict[str, Json] = {}
        if not target.attributes:
            links["configData"] = {"href": f"{base}/configData"}
        orders = self._open(target.id)
        if orders and orders[0].canceling:
            links["cancelAction"] = {"href": f"{base}/cancelAction/{orders[0].id}"}
        elif orders:
            links["deploymentBase"] = {"href": f"{base}/deploymentBase/{orders[0].id}?c=-21337"}
        return {"config": {"polling": {"sleep": "00:05:00"}}, "_links": links}

    def _deployment(self, action: Action) -> Json:
        modules = [self.modules[one["id"]] for one in self.sets[action.set]["modules"]]
        chunks = [
            {"part": "os", "name": one["name"], "version": one["version"], "artifacts": [],
             **({"metadata": one["metadata"]} if one.get("metadata") else {})}
            for one in modules
        ]  # fmt: skip
        return {"id": str(action.id), "deployment": {**action.deployment, "chunks": chunks}}

    def _feedback(self, action: Action, data: Json) -> Json:
        if not action.is_open:
            raise RefusedError(410)
        status = data["status"]
        details = status.get("details", [])
        if any("<" in line or ">" in line for line in details):
            raise RefusedError(400)
        if len(details) > 50:
            raise RefusedError(429)
        action.reports.append(status)
        if status["execution"] == "closed" or (
            status["execution"] == "downloaded" and action.deployment["update"] == "skip"
            and "maintenanceWindow" not in action.deployment
        ):  # fmt: skip
            failed = status["result"]["finished"] == "failure"
            self._end(action, "ERROR" if failed else "FINISHED")
            action.code = status.get("code")
            self.targets[action.target].status = "error" if failed else "in_sync"
            self._advance(self.rollouts.get(action.rollout))
        return None

    # What the desk uses

    def _management(
        self, method: str, parts: list[str], headers: Headers, data: Json, query: Headers
    ) -> Json:
        expected = "Basic " + base64.b64encode(PASSWORD.encode()).decode()
        if headers.get("Authorization") != expected:
            raise RefusedError(401)
        match method, parts:
            case "GET", ["targets"]:
                return _page([self._target(one) for one in self._select(query)], query)
            case "GET", ["targets", name, "attributes"]:
                return self.targets[name].attributes
            case "POST", ["targets"]:
                for one in data:
                    if one["controllerId"] in self.targets:
                        raise RefusedError(409)
                    self.targets[one["controllerId"]] = Target(
                        one["controllerId"], one["securityToken"]
                    )
                return data
            case "GET", ["targets", _, "actions", number, "status"]:
                reports = self.actions[int(number)].reports[::-1]
                return _page(
                    [{"type": "error", "code": one.get("code"), "messages": one.get("details", [])}
                     for one in reports], query)  # fmt: skip
            case "GET", ["softwaremodules"]:
                return _page(_named(self.modules, query), query)
            case "GET", ["softwaremodules", number, "metadata"]:
                return _page(self.modules[int(number)]["metadata"], query)
            case "POST", ["softwaremodules"]:
                return [self._new(self.modules, {**one, "metadata": []}) for one in data]
            case "POST", ["softwaremodules", number, "metadata"]:
                self.modules[int(number)]["metadata"] += data
                return data
            case "GET", ["distributionsets"]:
                return _page(_named(self.sets, query), query)
            case "GET", ["distributionsets", number]:
                return self.sets[int(number)]
            case "POST", ["distributionsets"]:
                return [self._new(self.sets, one) for one in data]
            case "GET", ["rollouts"]:
                return _page(_named(self.rollouts, query), query)
            case "POST", ["rollouts"]:
                return self._create(data)
            case "GET", ["rollouts", number]:
                return self._shown(self.rollouts[int(number)])
            case "POST", ["rollouts", number, verb]:
                return self._drive(self.rollouts[int(number)], verb)
            case "GET", ["rollouts", number, "deploygroups"]:
                return _page(
                    [self._group(int(number), one) for one in
                     range(len(self.rollouts[int(number)]["groups"]))], query)  # fmt: skip
            case "GET", ["rollouts", number, "deploygroups", group, "targets"]:
                names = set(self.rollouts[int(number)]["groups"][int(group) - 1]["targets"])
                selected = [one for one in self._select(query) if one.id in names]
                return _page([self._target(one) for one in selected], query)
            case "GET", ["actions"]:
                found = re.fullmatch(r"status==(\w+);rollout\.id==(\d+)", query["q"])
                assert found is not None
                return _page(
                    [{"id": one.id, "lastStatusCode": one.code, "status": "finished",
                      "createdAt": one.began, "lastModifiedAt": one.changed,
                      "_links": {"target": {"href": f"http://x.invalid/rest/v1/targets/{one.target}",
                                            "name": one.target}}}
                     for one in self.actions.values()
                     if (one.status, str(one.rollout)) == found.groups()], query)  # fmt: skip
        raise RefusedError(404)

    def _new(self, table: dict[int, Json], values: Json) -> Json:
        for one in table.values():
            if (one["name"], one["version"]) == (values["name"], values["version"]):
                raise RefusedError(409)
        number = len(table) + 1
        table[number] = {**values, "id": number}
        return table[number]

    def _select(self, query: dict[str, str]) -> list[Target]:
        fits = condition(query.get("q", ""))
        return [one for one in self.targets.values() if fits(one)]

    def _target(self, one: Target) -> Json:
        return {
            "controllerId": one.id, "name": one.id, "updateStatus": one.status,
            "lastControllerRequestAt": one.seen,
            **({"securityToken": one.token} if self.shows_tokens else {}),
        }  # fmt: skip

    def _create(self, data: Json) -> Json:
        everyone = self._select({"q": data["targetFilterQuery"]})
        rest = list(everyone)
        groups = []
        for one in data["groups"]:
            able = list(filter(condition(one.get("targetFilterQuery", "")), rest))
            taken = [t.id for t in able[: round(len(able) * one["targetPercentage"] / 100)]]
            gone = set(taken)
            rest = [t for t in rest if t.id not in gone]
            groups.append({**one, "targets": taken, "state": "ready"})
        if rest:  # "Rollout groups don't match all targets that are targeted by the rollout"
            raise RefusedError(400)
        number = len(self.rollouts) + 1
        self.rollouts[number] = {
            **data, "id": number, "groups": groups, "status": "creating",
            "total": len(everyone), "polls": 0,
        }  # fmt: skip
        return self._shown(self.rollouts[number])

    def _shown(self, rollout: Json) -> Json:
        rollout["polls"] += 1
        if rollout["status"] == "creating" and rollout["polls"] > self.ready_after:
            rollout["status"] = "ready"
        ids = range(len(rollout["groups"]))
        counts = [self._group(rollout["id"], one)["totalTargetsPerStatus"] for one in ids]
        return {
            "id": rollout["id"], "name": rollout["name"], "status": rollout["status"],
            "totalTargets": rollout["total"], "distributionSetId": rollout["distributionSetId"],
            "totalTargetsPerStatus": {
                state.lower(): sum(one[state.lower()] for one in counts) for state in STATES
            },
        }  # fmt: skip

    def _drive(self, rollout: Json, verb: str) -> Json:
        before = {
            "start": ["ready"], "pause": ["running"], "resume": ["paused"],
            "stop": ["running", "paused"],
        }  # fmt: skip
        if verb not in before:
            raise RefusedError(404)
        if rollout["status"] not in before[verb]:
            raise RefusedError(400)
        rollout["status"] = {"pause": "paused", "stop": "finished"}.get(verb, "running")
        if verb == "start":
            self._launch(rollout, 0)
        elif verb == "resume":
            running = [i for i, one in enumerate(rollout["groups"]) if one["state"] == "error"]
            if running and running[-1] + 1 < len(rollout["groups"]):
                self._launch(rollout, running[-1] + 1)
        return None

    def _launch(self, rollout: Json, index: int) -> None:
        rollout["groups"][index]["state"] = "running"
        for name in rollout["groups"][index]["targets"]:
            self._assign(name, rollout["distributionSetId"], {}, rollout=rollout["id"], group=index)

    def _advance(self, rollout: Json) -> None:
        if rollout is None or rollout["status"] != "running":
            return
        index = max(i for i, one in enumerate(rollout["groups"]) if one["state"] != "ready")
        group = rollout["groups"][index]
        counts = self._group(rollout["id"], index)["totalTargetsPerStatus"]
        total = len(group["targets"])
        if counts["error"] * 100 > int(group["errorCondition"]["expression"]) * total:
            group["state"] = "error"
            rollout["status"] = "paused"
        elif counts["finished"] * 100 >= int(group["successCondition"]["expression"]) * total:
            if index + 1 < len(rollout["groups"]):
                self._launch(rollout, index + 1)
            elif counts["running"] == 0:
                rollout["status"] = "finished"

    def _group(self, number: int, index: int) -> Json:
        group = self.rollouts[number]["groups"][index]
        found = self._counted(number, index)
        counts = {state.lower(): found[state] for state in STATES}
        counts["notstarted"] = len(group["targets"]) - found.total()
        return {
            "id": index + 1, "name": group["name"], "status": group["state"],
            "totalTargets": len(group["targets"]), "totalTargetsPerStatus": counts,
        }  # fmt: skip


def condition(query: str) -> Callable[[Target], bool]:
    """Whether a target is one of an RSQL query: conditions with `;` between them."""
    checks = [_check(part) for part in query.split(";") if part]
    return lambda target: all(check(target) for check in checks)


def _check(part: str) -> Callable[[Target], bool]:
    found = re.fullmatch(r"\(?([\w.]+)(==|=in=|=lt=)(\([^()]*\)|[^()]*)\)?", part)
    if found is None:
        raise RefusedError(400)
    key, operator, wanted = found.groups()
    value = FIELDS.get(key.lower()) or _attribute(key.removeprefix("attribute."))
    if operator == "=in=":
        # hawkBit's default: rsql.ignore-case.
        names = set(wanted.strip("()").lower().split(","))
        return lambda target: value(target).lower() in names
    if operator == "=lt=":
        limit = int(wanted)
        return lambda target: int(value(target) or 0) < limit
    return lambda target: wanted == "*" or value(target) == wanted


def _attribute(name: str) -> Callable[[Target], str]:
    return lambda target: target.attributes.get(name, "")


FIELDS: dict[str, Callable[[Target], str]] = {
    "controllerid": lambda target: target.id,
    "updatestatus": lambda target: target.status,
    "lastcontrollerrequestat": lambda target: str(target.seen),
}


def _named(table: dict[int, Json], query: dict[str, str]) -> list[Json]:
    wanted = dict(one.split("==", 1) for one in query.get("q", "").split(";") if one)
    return [
        one for one in table.values()
        if all(str(one.get(key)) == value.strip('"') for key, value in wanted.items())
    ]  # fmt: skip


def _page(rows: list[Json], query: dict[str, str]) -> Json:
    start, limit = int(query.get("offset", "0")), int(query.get("limit", "50"))
    assert limit <= 500
    part = rows[start : start + limit]
    return {"content": part, "total": len(rows), "size": len(part)}


def _now() -> int:
    return int(time.time() * 1000)


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[HawkBit]:
    """A server that the desk's commands find."""
    server = HawkBit()
    for name, value in environment(server.url).items():
        monkeypatch.setenv(name, value)
    try:
        yield server
    finally:
        server.close()


def environment(url: str) -> dict[str, str]:
    """The variables by which the desk's commands find a server, and log in there."""
    user, _, password = PASSWORD.partition(":")
    return {
        "EDGEIMG_ROLLOUT_SERVER": url,
        "EDGEIMG_ROLLOUT_USER": user,
        "EDGEIMG_ROLLOUT_PASSWORD": password,
    }


def main() -> None:
    """Serve until standard input ends."""
    server = HawkBit()
    server.keeps_requests = False
    print(server.url, flush=True)
    sys.stdin.read()
    server.close()


if __name__ == "__main__":
    main()
