"""The error tree: what each class says, and that all of it survives pickle."""

import copy
import pickle
import threading
from unittest import mock

import pytest

import aioproviders
from aioproviders import errors
from aioproviders.errors import ErrorDetail, ProviderError

CLASSES = [
    value
    for name in errors.__all__
    if isinstance(value := getattr(errors, name), type) and issubclass(value, ProviderError)
]
FACTS = {
    "provider": "p",
    "operation": "o",
    "retryable": True,
    "sent": False,
    "attempts": 3,
    "elapsed": 1.5,
    "reason": "budget",
    "status_code": 503,
    "retry_after": 2.0,
    "outage": False,
}


def ours(error):
    return {**vars(error), "type": type(error), "args": error.args}


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_errors_survive_pickle(cls, copied):
    """Pickled or copied, an error keeps its class and all its facts."""
    error = cls("what happened", **FACTS)
    error.add_note("a note")
    assert ours(copied(error)) == ours(error)
    assert str(copied(error)) == str(error)


def test_subclasses_with_a_constructor_of_their_own_survive_pickle():
    """Unpickling goes around a driver's own constructor."""
    error = pickle.loads(pickle.dumps(OwnError(7)))
    assert (error.number, error.message, error.args) == (7, "number 7", ("number 7",))


class OwnError(ProviderError):
    def __init__(self, number):
        super().__init__(f"number {number}")
        self.number = number


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("ConfigurationError", (ValueError,)),
        ("ProviderNotFoundError", (ValueError, LookupError)),
        ("ProviderTimeoutError", (TimeoutError,)),
        ("ProviderUnavailableError", (ConnectionError,)),
        ("ProviderStateError", ()),
    ],
)
def test_errors_are_also_what_python_calls_them(name, bases):
    """Those who catch Python's own classes catch ours."""
    cls = getattr(errors, name)
    assert all(issubclass(cls, base) for base in (ProviderError, *bases))


def test_codes_are_unique():
    """Each class has a code of its own."""
    assert len({cls.code for cls in CLASSES}) == len(CLASSES) == 13


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ProviderError("x"), "x"),
        (ProviderError("x", provider="p"), "p: x"),
        (ProviderError("x", provider="p", operation="o"), "p.o: x"),
        (ProviderError("x", provider="p", operation="o", attempts=1), "p.o: x"),
        (ProviderError("x", provider="p", attempts=3, elapsed=1.234), "p: x (3 attempts in 1.23 s)"),
        (ProviderError("x", attempts=2, elapsed=1), "x (2 attempts in 1.00 s)"),
        (errors.ProviderUnavailableError("x"), "x"),
        (errors.ProviderNotFoundError("x"), "x"),
    ],
)
def test_text(error, text):
    """The text says where, what, and after how many attempts."""
    assert str(error) == text


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (errors.ProviderTimeoutError("x"), True),
        (errors.ProviderUnavailableError("x"), True),
        (errors.RateLimitedError("x"), True),
        (errors.RequestError("x"), False),
        (errors.ProviderTimeoutError("x", retryable=False), False),
        (errors.RequestError("x", retryable=True), True),
    ],
)
def test_retryable(error, retryable):
    """The class says whether it may work later, unless the error says otherwise."""
    assert error.retryable is retryable


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (errors.RequestError("x", status_code=500), True),
        (errors.RequestError("x", status_code=404), False),
        (errors.RequestError("x", status_code=499), False),
        (errors.RequestError("x"), True),
        (errors.ProviderTimeoutError("x"), True),
        (errors.ProviderTimeoutError("x", status_code=408), False),
        (errors.ProviderUnavailableError("x"), True),
        (errors.RateLimitedError("x"), False),
        (errors.AuthenticationError("x"), False),
        (errors.ConfigurationError("x"), False),
        (errors.CircuitOpenError("x"), False),
        (errors.ProviderError("x", outage=False), False),
        (errors.RequestError("x", status_code=404, outage=True), True),
    ],
)
def test_what_counts_as_an_outage(error, outage):
    """5xx, timeouts and lost connections count, 4xx and mistakes don't; unless the error says otherwise."""
    assert error.is_outage is outage


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_as_data_and_back(cls):
    """As a model, dumped to JSON and back, an error is of the same class with the same facts."""
    error = cls("what", **FACTS)
    detail = ErrorDetail.model_validate_json(ErrorDetail.from_error(error).model_dump_json())
    assert ours(detail.to_error()) == ours(error)


def test_an_unknown_code_becomes_the_base():
    """The detail of a stranger's error gives a ProviderError."""
    assert type(ErrorDetail(code="strange", message="x").to_error()) is ProviderError
    assert type(ErrorDetail.from_error(OwnError(1)).to_error()) is ProviderError


def test_all_errors_are_exported():
    """Every error can be imported from the top."""
    assert all(getattr(aioproviders, cls.__name__) is cls for cls in CLASSES)


def test_details_are_what_their_fields_say():
    """A detail that knows the error itself equals one that was only read, and has the same hash."""
    error = ProviderError("x", provider="it")
    known = ErrorDetail.from_error(error)
    read = ErrorDetail.model_validate_json(known.model_dump_json())
    assert known == read
    assert hash(known) == hash(read)
    assert known != ErrorDetail(code="strange", message="x")
    assert known != "x"
    assert known.error is error
    assert read.error is not error


def test_details_travel_as_data():
    """A detail is copied and pickled without the error, and a changed copy makes the error that it says."""
    error = ProviderError("x", provider="it")
    error.lock = threading.Lock()
    known = ErrorDetail.from_error(error)
    for copied in (pickle.loads(pickle.dumps(known)), copy.deepcopy(known)):
        assert copied == known
    changed = known.model_copy(update={"message": "other"})
    assert changed.error.message == "other"
    assert known == mock.ANY
