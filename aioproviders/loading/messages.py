"""Pydantic's errors in our words: what would be right, and never what was there.

Only the types whose text pydantic makes from the schema keep it; all others get a fixed phrase, and
what a validator's author wrote is masked: secrets in this package's, every value in strangers'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any, get_args

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from aioproviders.factory import did_you_mean
from aioproviders.loading.problems import KeyPath, look_up
from aioproviders.redaction import Redactor, is_secret_key

__all__ = ["A_STRING", "IN_QUOTES", "Explainer", "is_number"]

_LONGEST = 300
_SHORT = 4

A_STRING = "should be a string"
IN_QUOTES = " (write it in quotes)"

_PHRASES = {
    phrase: types.split()
    for phrase, types in {
        "is required": "missing",
        A_STRING: "string_type string_unicode string_sub_type bytes_type bytes_invalid_encoding",
        "should be a whole number": "int_type int_parsing int_from_float int_parsing_size",
        "should be a number": "float_type float_parsing decimal_type decimal_parsing fraction_type "
        "fraction_parsing complex_type complex_str_parsing",
        "should be a finite number": "finite_number",
        "should be true or false": "bool_type bool_parsing",
        "should be a table": "dict_type frozen_dict_type ordered_dict_type counter_type mapping_type "
        "model_type model_attributes_type dataclass_type dataclass_exact_type",
        "should be an array": "list_type tuple_type set_type frozen_set_type deque_type named_tuple_type "
        "iterable_type iteration_error",
        "should be left out": "none_required missing_sentinel_error frozen_field",
        "should have strings for keys": "invalid_key",
        "should be a text with JSON in it": "json_invalid json_type",
        "should be a URL, such as https://api.example.com": "url_type url_parsing url_syntax_violation",
        "should be a UUID": "uuid_type uuid_parsing",
        "should be a date, such as 2030-12-31": "date_type date_parsing date_from_datetime_parsing "
        "date_from_datetime_inexact",
        "should be a time, such as 23:59:00": "time_type time_parsing",
        "should be a date and time, such as 2030-12-31T23:59:00Z": "datetime_type datetime_parsing "
        "datetime_object_invalid datetime_from_date_parsing",
        "should be a duration in seconds, or such as PT1H30M": "time_delta_type time_delta_parsing",
        "should have another UTC offset": "timezone_offset",
        "can't be checked, since other settings are wrong": "default_factory_not_called",
    }.items()
}
_PHRASE = {kind: phrase for phrase, kinds in _PHRASES.items() for kind in kinds}

# Their texts are made from the schema alone, but for the count that `_COUNTED` cuts off.
_FROM_SCHEMA = re.compile(
    r"""(greater|less)_than(_equal)?|multiple_of|literal_error|enum|(string_|bytes_)?too_(short|long)
    |string_pattern_mismatch|string_not_ascii|set_item_not_hashable|is_(instance|subclass)_of|callable_type
    |date(time)?_(past|future)|timezone_(naive|aware)|url_scheme|url_too_long|uuid_version
    |decimal_(max_digits|max_places|whole_digits)|union_tag_not_found|ellipsis_error|needs_python_object""",
    re.VERBOSE,
)
_LIMIT = re.compile(r"Input should be (greater|less) than (or equal to )?-?[\d.]+")
_TAGS = "expected tags: "
_SUBJECT = re.compile(r"^\w+ (?=should )")
_COUNTED = re.compile(r", not (?:more|\d+)$| after validation")
_RAISED = re.compile(r"^(?:(?:Value error|Assertion failed), |Input )")


@dataclass(frozen=True)
class Explainer:
    """Explains what is wrong with one table.

    Attributes:
        model: The config class.
        data: The table that `model` refused.
        inserted: Texts that came into it from references, to mask besides its strings.
    """

    model: type[BaseModel]
    data: dict[str, Any]
    inserted: frozenset[str]

    def explain(self, error: ValidationError) -> Iterator[tuple[KeyPath, str]]:
        """Yield where and what each of pydantic's errors is, those at one place joined."""
        found: dict[KeyPath, dict[str, None]] = {}
        # Of the context, which can hold input too, only who raised the error is looked at.
        for item in error.errors(include_input=False, include_url=False):
            path = _place(item["loc"], self.data, missing=item["type"] == "missing")
            own = _is_own(item.get("ctx", {}).get("error"))
            found.setdefault(path, {})[self._phrase(item["type"], item["msg"], path, own=own)] = None
        for path, phrases in found.items():
            yield path, ", or ".join(phrases)

    def _phrase(self, kind: str, message: str, path: KeyPath, *, own: bool) -> str:
        if kind in _PHRASE:
            here = look_up(self.data, path)[1]
            unquoted = _PHRASE[kind] == A_STRING and is_number(here)
            return f"{_PHRASE[kind]}{IN_QUOTES if unquoted else ''}"
        if kind == "extra_forbidden" and path:
            return f"is no known setting{did_you_mean(str(path[-1]), _settings(self.model, path[:-1]))}"
        here = look_up(self.data, path)[1]
        # A validator may raise an error under pydantic's name, with what it likes in it.
        narrow = [*self.inserted, *_scalars(here, numbers=False)]
        if kind == "union_tag_invalid" and _TAGS in message:
            return _one_line(_masked(f"should be of one of the kinds {message.rpartition(_TAGS)[2]}", narrow))
        if kind in ("literal_error", "enum"):
            # What would be right may well have in it what was said: 'rolling' is a part of 'rolling_update'.
            narrow = [text for text in narrow if f"{text}_" not in message]
        if _FROM_SCHEMA.fullmatch(kind):
            if _LIMIT.fullmatch(message):
                narrow = [text for text in narrow if len(text) >= _SHORT]  # a limit, not what was said
            return _one_line(_masked(_COUNTED.sub("", _SUBJECT.sub("", message)), narrow))
        said = _RAISED.sub("", message)
        if own:
            # Our validators quote no secrets; masking all values would mask words of theirs.
            secret = _secret_texts(self.data, [self.model])
            return _one_line(_masked(said, [*self.inserted, *secret])) or "is not valid"
        return self.foreign(said, here)

    def foreign(self, message: str, here: Any = None) -> str:
        """Return what a stranger's code says, on one line, with every value of the table masked.

        Args:
            message: The text.
            here: What it is about; its numbers and its shortest strings are masked, too.
        """
        strings = (text for text in _scalars(self.data, numbers=False) if len(text) >= _SHORT)
        return _one_line(_masked(message, [*self.inserted, *_scalars(here), *strings])) or "is not valid"


def _is_own(error: object) -> bool:
    """Whether the code that raised `error` is this package's."""
    frame = error.__traceback__ if isinstance(error, BaseException) else None
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] == __name__.partition(".")[0]


def _secret_texts(table: dict[str, Any], models: list[type[BaseModel]]) -> Iterator[str]:
    """Yield what stands in a table under names that look secret, or in fields that are kept as secrets."""
    for key, value in table.items():
        annotations = [model.model_fields[key].annotation for model in models if key in model.model_fields]
        if is_secret_key(key) or any(map(_holds_secret, annotations)):
            yield from _scalars(value)
        else:
            inner = [model for annotation in annotations for model in _models(annotation)]
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    yield from _secret_texts(item, inner)


def _holds_secret(annotation: Any) -> bool:
    return annotation in (SecretStr, SecretBytes) or any(map(_holds_secret, get_args(annotation)))


def is_number(value: object) -> bool:
    """Whether `value` is what YAML and TOML make of an unquoted number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with `secrets`, and all that looks like a credential, masked."""
    return Redactor(secrets).text(text)


def _one_line(text: str) -> str:
    """Return `text` on one line, and no longer than is good to read."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _place(loc: tuple[str | int, ...], data: Any, *, missing: bool) -> KeyPath:
    """Return the part of `loc` that leads through `data`; pydantic puts the types of unions there too."""
    path: KeyPath = ()
    last = len(loc) - 1
    for index, part in enumerate(loc):
        if look_up(data, (*path, part))[0] or (missing and index == last):
            path = (*path, part)
    return path


def _scalars(value: Any, *, numbers: bool = True) -> Iterator[str]:
    """Yield the strings in a value, and the numbers and dates too, as they may turn up in a text."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _scalars(item, numbers=numbers)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _scalars(item, numbers=numbers)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "backslashreplace")
    elif numbers and isinstance(value, (int, float, date, time, timedelta)) and not isinstance(value, bool):
        yield str(value)
        if isinstance(value, (date, time)):
            yield repr(value)


def _settings(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the names that may stand in the table at `path` of the data for `model`."""
    models = [model]
    for part in path:
        # A key of a mapping or an index leads to the same models as its field.
        inner = [
            m
            for owner in models
            if part in owner.model_fields
            for m in _models(owner.model_fields[str(part)].annotation)
        ]
        models = inner or models
    return [field.alias or name for owner in models for name, field in owner.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
