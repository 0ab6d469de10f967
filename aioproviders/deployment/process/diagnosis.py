"""Saying why a release does not come up."""

from __future__ import annotations

import signal
from contextlib import suppress

from aioproviders.deployment.models import Diagnosis
from aioproviders.deployment.process.member import Member
from aioproviders.redaction import Redactor, secrets_in

__all__ = ["diagnose"]

_LINES = 20

_SUGGESTIONS = {
    "StartFailed": "check 'command' and 'working_directory'; a program is looked for in the replica's PATH",
    "CrashLoop": "the last lines of its output say most; run the command by hand with the same environment",
    "LivenessFailed": "check 'liveness_probe', or give the service a 'startup_probe' to start in peace",
    "ProbeFailed": "check 'readiness_probe' (kind, path, port), or give it more time: 'rollout_timeout_ms'",
    "Timeout": "give it more time with 'rollout_timeout_ms', or find what it waits for in its output",
}


def diagnose(member: Member | None, *, limit: float | None = None) -> Diagnosis:
    """Say what is wrong.

    Args:
        member: The one that is looked at; None where there is none, or nothing is wrong with any.
        limit: Seconds that the rollout was given, where they have passed.
    """
    if member is None:
        return Diagnosis(
            reason="Timeout",
            message=f"not done within {limit:g} s: old instances took too long to end",
            suggestion="lower 'stop_timeout_ms', or raise 'rollout_timeout_ms'",
        )
    replica = member.replica
    reason, message = _reason(member, limit)
    # Its output may well show the secrets it was given.
    mask = Redactor(secrets_in(member.config)).text
    return Diagnosis(
        instance=member.name,
        reason=reason,
        message=mask(message),
        exit_code=replica.exit_code if replica is not None else None,
        events=tuple(mask(event) for event in member.events),
        logs=tuple(mask(line.text) for line in member.output.tail(_LINES)),
        suggestion=_SUGGESTIONS[reason],
    )


def _reason(member: Member, limit: float | None) -> tuple[str, str]:
    replica = member.replica
    told = replica.message if replica is not None else ""
    if member.start_failed:
        return "StartFailed", member.problem or told
    ended = _how_it_ended(replica.exit_code if replica is not None else None)
    if member.in_crash_loop:
        if replica is not None and replica.reason == "LivenessFailed":
            return "LivenessFailed", f"it was ended {member.ends} times in a row: {told}"
        return "CrashLoop", f"it ended {member.ends} times in a row, the last time {ended}"
    waited = f"within {limit:g} s" if limit is not None else "in time"
    if replica is not None and replica.exit_code is not None:
        return "Timeout", f"it was not ready {waited}; it ended {ended}"
    if replica is not None and replica.reason == "ProbeFailed":
        return "ProbeFailed", f"it was not ready {waited}: {told}"
    return "Timeout", f"it was not ready {waited}" + (f": {told}" if told else "")


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "in an unknown way"
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
