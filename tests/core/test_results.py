"""What the result models have in common."""

import pickle

import pytest

from aioproviders import DeploymentResult, NotFoundError, ProviderError, RequestError, SDKResponse


def test_a_success_is_returned():
    """A result that is a success raises nothing, and hands itself on."""
    result = DeploymentResult(success=True, deployment_id="a", status="deployed")
    assert result.raise_for_error() is result


def test_a_failure_the_method_made_itself():
    """A failure without an error of its own is raised with what the model says."""
    response = SDKResponse(success=False, error="out of stock", status_code=422, latency_ms=1, request_id="r")
    with pytest.raises(RequestError, match="out of stock") as caught:
        response.raise_for_error()
    assert caught.value.status_code == 422
    with pytest.raises(ProviderError, match="no such image"):
        DeploymentResult(
            success=False, deployment_id="", status="failed", message="no such image"
        ).raise_for_error()


def test_a_failure_keeps_its_error():
    """The error that a result was made from is raised as it is, and from data as one of its class."""
    error = NotFoundError("no such thing", provider="shop", attempts=2, status_code=404)
    result = DeploymentResult(success=False, deployment_id="", status="failed").because_of(error)
    with pytest.raises(NotFoundError) as caught:
        result.raise_for_error()
    assert caught.value is error
    for copy in (
        DeploymentResult.model_validate_json(result.model_dump_json()),
        pickle.loads(pickle.dumps(result)),
    ):
        with pytest.raises(NotFoundError) as caught:
            copy.raise_for_error()
        assert vars(caught.value) == vars(error)


def test_what_says_the_same_is_equal():
    """A failure equals its copies, whatever error object they hold, and nothing that says otherwise."""
    failed = DeploymentResult(success=False, deployment_id="a", status="failed")
    result = failed.because_of(NotFoundError("no such thing"))
    assert pickle.loads(pickle.dumps(result)) == result
    assert DeploymentResult.model_validate_json(result.model_dump_json()) == result
    assert result.because_of(NotFoundError("no such thing")) == result
    assert result != result.because_of(NotFoundError("no such place"))
    assert result != failed
    assert result != SDKResponse(success=False, latency_ms=1, request_id="r")
    assert result != dict(result)
