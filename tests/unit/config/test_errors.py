"""mosnpy.errors: texts and places."""

from __future__ import annotations

from mosnpy.config.report import Fault
from mosnpy.errors import CodecError, ConfigError, ConfigErrors, Failure, MosnError, UpstreamError, UsageError


def test_the_tree() -> None:
    assert issubclass(ConfigErrors, ConfigError)
    for each in (ConfigError, CodecError, UsageError, UpstreamError):
        assert issubclass(each, MosnError)


def test_texts_name_the_place() -> None:
    assert str(ConfigError("bad", file="a.yaml", line=3, column=4)) == "a.yaml:3:4: bad"
    assert str(ConfigError("bad")) == "bad"
    assert str(CodecError("bulk-length", 7, "-5")) == "bulk-length: -5"
    assert str(UpstreamError(Failure.TIMEOUT, "main")) == "upstream request timeout: main"


def test_several_faults_are_one_error_placed_at_the_first_that_is_no_warning() -> None:
    error = ConfigErrors(
        [Fault("doubt", "a", 1, 1, severity="warning"), Fault("wrong", "a", 2, 3), Fault("too", "a", 4, 1)]
    )
    assert (error.file, error.line, error.column, error.message) == ("a", 2, 3, "wrong")
    assert str(error).split("\n") == ["a:1:1: warning: doubt", "a:2:3: error: wrong", "a:4:1: error: too"]


def test_a_failure_is_a_number_with_words() -> None:
    assert int(Failure.NO_ROUTE) == 1
    assert list(Failure)[1].flag == "NR"
    assert Failure["NO_ROUTE"].text == "no route matches"
