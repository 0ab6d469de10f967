"""How a cluster and our credentials for it are found, kept fresh and shown."""

import io
import json
import os
import ssl
import sys
import tempfile
import threading
from pathlib import Path

import aiohttp
import anyio
import pytest
import trustme
from aiohttp import web
from scripted_api import ScriptedApi, config, kubeconfig

from aioproviders.deployment.kubernetes import kubeconfig as kubeconfigs
from aioproviders.deployment.kubernetes.connection import connect, error_of_exception
from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ProviderError,
    ProviderUnavailableError,
)

VERSION = "GET /version"
REFUSED = (401, {"kind": "Status", "code": 401, "message": "Unauthorized"})
GOOD = (200, {"gitVersion": "v1"})


@pytest.fixture(autouse=True)
def _no_cluster_around(monkeypatch, tmp_path):
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def write(tmp_path):
    """Return a function: name, text -> path."""

    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


async def ask(path, **fields):
    """Connect by a kubeconfig, ask for the version once, and return the answer."""
    connection = await connect(config(kubeconfig_path=path, **fields))
    try:
        return await connection.send("GET", "/version", "get /version")
    finally:
        await connection.close()


async def refusal(**fields):
    """Connect in vain, and return what is said."""
    with pytest.raises(ConfigurationError) as caught:
        await connect(config(**fields))
    return caught.value.message


# Which cluster.


async def test_a_path_that_is_no_file(tmp_path):
    """A folder is told from what is not there."""
    assert await refusal(kubeconfig_path=tmp_path) == (
        f"kubeconfig_path: {tmp_path} is a folder; name the file in it"
    )
    assert await refusal(kubeconfig_path=tmp_path / "none") == (
        f"kubeconfig_path: there is no file {tmp_path / 'none'}"
    )


async def test_the_first_of_several_kubeconfigs_holds(monkeypatch, write):
    """With KUBECONFIG of two files the current context and a name that both have are the first one's."""
    one = write("one", kubeconfig("http://127.0.0.1:1"))
    other = json.loads(kubeconfig("http://127.0.0.1:2"))
    other["current-context"] = "there"
    other["contexts"].append({"name": "there", "context": {"cluster": "d", "user": "u"}})
    other["clusters"].append({"name": "d", "cluster": {"server": "http://127.0.0.1:3/"}})
    two = write("two", json.dumps(other))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, (one, "/nowhere", two))))
    first = await connect(config())
    second = await connect(config(context="there"))
    await first.close()
    await second.close()
    assert (first.server, first.context, first.namespace) == ("http://127.0.0.1:1", "here", "shop")
    assert (second.server, second.namespace) == ("http://127.0.0.1:3", None)


async def test_the_home_folder_has_a_kubeconfig(tmp_path):
    """Where KUBECONFIG is not set it is ~/.kube/config."""
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    (tmp_path / "home" / ".kube" / "config").write_text(kubeconfig("http://127.0.0.1:1"))
    connection = await connect(config())
    await connection.close()
    assert connection.server == "http://127.0.0.1:1"


async def test_an_unknown_context_names_those_there_are(write):
    """The error helps to find the right one."""
    message = await refusal(kubeconfig_path=write("k", kubeconfig("http://x")), context="prod")
    assert "'prod'" in message
    assert "there are: here" in message


async def test_without_any_configuration_it_says_what_to_set():
    """Neither a kubeconfig nor a pod: the error names the place looked at."""
    message = await refusal()
    assert str(Path(".kube", "config")) in message
    assert "kubeconfig_path" in message


async def test_a_missing_kubeconfig_is_named():
    """A path in the config that is not there is no reason to look elsewhere."""
    assert "/nowhere/config" in await refusal(kubeconfig_path="/nowhere/config")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters: [", "k:1:12"),
        ("a: 1\na: 2", "k:2:1: the key 'a' stands twice"),
        ("- 1", "is no kubeconfig"),
        ("clusters: [{cluster: {}}]", "each of clusters should have 'name'"),
        (kubeconfig("nonsense"), "'server' should be a URL"),
        (kubeconfig("http://x", cluster={"proxy-url": "socks5://p"}), "'proxy-url' should be http"),
        (kubeconfig("https://x", cluster={"certificate-authority-data": "%"}), "is no base64"),
        (kubeconfig("https://x", cluster={"certificate-authority-data": "eA=="}), "no certificate in PEM"),
        (kubeconfig("https://x", cluster={"certificate-authority": "gone.crt"}), "gone.crt can't be read"),
        (kubeconfig("http://x", user={"client-certificate-data": "eA=="}), "belong together"),
        (kubeconfig("http://x", user={"auth-provider": {"name": "gcp"}}), "use an 'exec' plugin"),
        (kubeconfig("http://x", user={"exec": {}}), "table with 'command'"),
        (
            kubeconfig("https://x", user={"client-certificate-data": "eA==", "client-key-data": "eA=="}),
            "the client certificate and its key don't fit together",
        ),
        ("clusters: []", "is no kubeconfig: it has no contexts"),
        ("", "is no kubeconfig: it has no contexts"),
        (
            "contexts: [{name: a, context: {cluster: a}}, {name: b, context: {cluster: a}}]",
            "no context is current; name one, there are: a, b",
        ),
        ("a: 1\n---\nb: 2", "a kubeconfig is one document, this has 2"),
        (
            kubeconfig("http://x").replace('"name": "u"', '"name": "other"'),
            "context 'here' names 'u', which is none of the users: other",
        ),
        ("a: \x07", "special characters are not allowed"),
        ("a: 99999-99-99\nb: !!int x", "invalid literal for int"),
    ],
)
async def test_a_broken_kubeconfig_is_told_in_a_line(write, text, said):
    """It names the file and what is wrong in it."""
    path = write("k", text)
    message = await refusal(kubeconfig_path=path)
    assert said in message
    assert str(path) in message
    assert "\n" not in message


async def test_a_kubeconfig_that_is_no_text_is_told(tmp_path):
    """Bytes that are no UTF-8 are no YAML."""
    path = tmp_path / "k"
    path.write_bytes(b"a: \xff")
    assert await refusal(kubeconfig_path=path) == f"{path}: is no text in UTF-8"


async def test_a_pod_has_no_contexts(monkeypatch):
    """A context in the config means a kubeconfig that is missing."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert "there is no context 'prod'" in await refusal(context="prod")
    assert "this pod has no service account token" in await refusal()


async def test_a_pod_needs_no_kubeconfig(monkeypatch, tmp_path):
    """In a pod the service account's token, namespace and authority are used."""
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    (tmp_path / "token").write_text("pod-token\n")
    (tmp_path / "namespace").write_text("shop")
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    monkeypatch.setattr(kubeconfigs, "_SERVICE_ACCOUNT", tmp_path)
    async with ScriptedApi({VERSION: [GOOD]}, tls) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
        connection = await connect(config())
        await connection.send("GET", "/version", "get /version")
        await connection.close()
    assert connection.namespace == "shop"
    assert server.seen[0].headers["Authorization"] == "Bearer pod-token"


async def test_nothing_is_read_on_the_event_loop(write, tmp_path, monkeypatch):
    """Kubeconfig, certificates, token file and the TLS context are a worker thread's."""
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    write("token", "t")
    here, threads = threading.get_ident(), {}

    def noted(function, name_of):
        def call(*args, **kwargs):
            threads[name_of(*args)] = threading.get_ident()
            return function(*args, **kwargs)

        return call

    async with ScriptedApi({VERSION: [GOOD]}, tls) as server:
        path = write("k", kubeconfig(server.url, {"tokenFile": "token"}, {"certificate-authority": "ca.crt"}))
        monkeypatch.setattr(io, "open", noted(io.open, lambda path, *_: Path(path).name))
        monkeypatch.setattr(ssl, "create_default_context", noted(ssl.create_default_context, lambda: "tls"))
        await ask(path)
    assert {"k", "ca.crt", "token", "tls"} <= threads.keys()
    assert here not in threads.values()


# Credentials.


async def test_requests_say_who_asks(write):
    """A token, whom to act as, and our user agent are in the headers; the token is concealed first."""
    concealed = []
    async with ScriptedApi({VERSION: [GOOD]}) as server:
        path = write("k", kubeconfig(server.url, {"token": "t0ken", "as": "jane"}))
        connection = await connect(config(kubeconfig_path=path), concealed.append)
        await connection.send("GET", "/version", "get /version")
        await connection.close()
    headers = server.seen[0].headers
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Impersonate-User"] == "jane"
    assert headers["User-Agent"].startswith("aioproviders/")
    assert "t0ken" in concealed


async def test_a_name_and_a_password(write):
    """They make basic authentication."""
    async with ScriptedApi({VERSION: [GOOD]}) as server:
        await ask(write("k", kubeconfig(server.url, {"username": "jane", "password": "pw"})))
    assert server.seen[0].headers["Authorization"] == "Basic amFuZTpwdw=="


async def test_a_token_file_is_read_again_when_it_is_refused(write):
    """A 401 is followed by one more request with what the file says now."""
    token = write("token", "old")

    async def refuse(_):
        token.write_text("new")
        return web.json_response(REFUSED[1], status=401)

    async with ScriptedApi({VERSION: [refuse, GOOD]}) as server:
        await ask(write("k", kubeconfig(server.url, {"tokenFile": "token"})))
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer old", "Bearer new"]


async def test_a_token_that_does_not_change_is_refused_once(write):
    """What can't be renewed is not sent again."""
    async with ScriptedApi({VERSION: [REFUSED]}) as server:
        with pytest.raises(AuthenticationError, match="does not accept the credentials"):
            await ask(write("k", kubeconfig(server.url, {"token": "t"})))
    assert len(server.seen) == 1


PLUGIN = """
import json, os, sys
from pathlib import Path
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
runs = Path(sys.argv[1])
number = len(runs.read_text().split()) + 1 if runs.exists() else 1
with runs.open("a") as file:
    file.write(f"{number}\\n")
status = {"token": f"{os.environ['PREFIX']}{number}"}
if len(sys.argv) > 2:
    status["expirationTimestamp"] = sys.argv[2]
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def plugin_user(write, tmp_path, *more):
    """Return a user whose credentials are a plugin's: token-1, token-2 and so on."""
    script = write("plugin.py", PLUGIN)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(script), str(tmp_path / "runs"), *more],
            "env": [{"name": "PREFIX", "value": "token-"}],
        }
    }


async def tokens_of(path, server, times):
    """Return the tokens that so many requests show."""
    connection = await connect(config(kubeconfig_path=path))
    for _ in range(times):
        await connection.send("GET", "/version", "get /version")
    await connection.close()
    return [seen.headers["Authorization"].removeprefix("Bearer ") for seen in server.seen]


async def test_a_plugin_runs_once_while_its_token_holds(write, tmp_path):
    """Without an end of its time, it holds until it is refused."""
    async with ScriptedApi({VERSION: [GOOD, REFUSED, GOOD]}) as server:
        path = write("k", kubeconfig(server.url, plugin_user(write, tmp_path)))
        assert await tokens_of(path, server, 3) == ["token-1", "token-1", "token-2", "token-2"]


async def test_a_plugin_runs_again_when_its_token_is_over(write, tmp_path):
    """A token of the past is not used twice."""
    async with ScriptedApi({VERSION: [GOOD]}) as server:
        path = write("k", kubeconfig(server.url, plugin_user(write, tmp_path, "2020-01-01T00:00:00Z")))
        assert await tokens_of(path, server, 2) == ["token-1", "token-2"]


async def test_requests_side_by_side_share_a_run_of_the_plugin(write, tmp_path):
    """Ten at once wait for one and the same token."""
    async with ScriptedApi({VERSION: [GOOD]}) as server:
        path = write("k", kubeconfig(server.url, plugin_user(write, tmp_path)))
        connection = await connect(config(kubeconfig_path=path))
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(connection.send, "GET", "/version", "get /version")
        await connection.close()
    assert (tmp_path / "runs").read_text().split() == ["1"]


async def test_a_plugin_that_fails_later_is_told(write, tmp_path):
    """Refused, its credential can't be renewed: what the plugin said is the error."""
    once = f"import os, sys; os.path.exists({str(tmp_path / 'runs')!r}) and sys.exit('session over')"
    script = write("once.py", once + PLUGIN)
    async with ScriptedApi({VERSION: [REFUSED]}) as server:
        user = plugin_user(write, tmp_path)
        user["exec"]["args"][0] = str(script)
        with pytest.raises(AuthenticationError, match="ended with 1: session over"):
            await ask(write("k", kubeconfig(server.url, user)))
    assert len(server.seen) == 1


async def test_a_plugin_beside_its_kubeconfig_learns_of_the_cluster(write, tmp_path):
    """A relative path starts at the kubeconfig, and provideClusterInfo is heeded."""
    told = tmp_path / "told"
    script = write(
        "plugin",
        f"#!{sys.executable}\n"
        + PLUGIN.replace(
            "status = {",
            f"""
Path({str(told)!r}).write_text(os.environ["KUBERNETES_EXEC_INFO"])
status = {{""",
        ),
    )
    script.chmod(0o700)
    user = {
        "exec": {**plugin_user(write, tmp_path)["exec"], "command": "./plugin", "provideClusterInfo": True}
    }
    user["exec"]["args"] = [str(tmp_path / "runs")]
    async with ScriptedApi({VERSION: [GOOD]}) as server:
        await ask(write("k", kubeconfig(server.url, user, {"tls-server-name": "inner"})))
    spec = json.loads(told.read_text())["spec"]
    assert spec == {"interactive": False, "cluster": {"server": server.url, "tls-server-name": "inner"}}


async def test_an_empty_token_file_is_told(write, tmp_path):
    """It names the file."""
    (tmp_path / "token").touch()
    with pytest.raises(ConfigurationError, match="token: the token file is empty"):
        await ask(write("k", kubeconfig("http://127.0.0.1:1", {"tokenFile": "token"})))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"token": "t", "expirationTimestamp": "soon"}, "expirationTimestamp 'soon' is no time"),
        ({"clientCertificateData": "x"}, "gave neither a token nor a certificate with its key"),
    ],
)
async def test_a_credential_that_makes_no_sense(write, status, said):
    """It is told as the plugin's failure."""
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    user = {"exec": {"command": sys.executable, "args": ["-c", f"print({json.dumps(credential)!r})"]}}
    with pytest.raises(AuthenticationError, match=said):
        await ask(write("k", kubeconfig("http://127.0.0.1:1", user)))


@pytest.mark.parametrize(
    ("command", "args", "kind", "said"),
    [
        ("no-such-plugin", [], ConfigurationError, "can't be run: No such file or directory; pip install it"),
        (
            sys.executable,
            ["-c", "import sys; sys.exit('log in first')"],
            AuthenticationError,
            "ended with 1: log in first",
        ),
        (sys.executable, ["-c", "print('s3cret')"], AuthenticationError, "printed no ExecCredential"),
    ],
)
async def test_a_plugin_that_fails_is_named(write, command, args, kind, said):
    """The error tells what it said, but never what it printed."""
    user = {"exec": {"command": command, "args": args, "installHint": "pip install\nit"}}
    with pytest.raises(kind) as caught:
        await ask(write("k", kubeconfig("http://127.0.0.1:1", user)))
    assert said in caught.value.message
    assert "s3cret" not in caught.value.message
    assert repr(command) in caught.value.message


async def test_a_plugin_that_hangs_is_named(write):
    """Just before the request itself would be out of time."""
    user = {"exec": {"command": sys.executable, "args": ["-c", "import time; time.sleep(600)"]}}
    path = write("k", kubeconfig("http://127.0.0.1:1", user))
    connection = await connect(config(kubeconfig_path=path, timeout_ms=200))
    try:
        with pytest.raises(AuthenticationError, match=r"the plugin .* has not ended within 0\.18 s"):
            await connection.send("GET", "/version", "get /version")
    finally:
        await connection.close()


async def test_a_plugin_is_ended_when_nobody_waits(write, tmp_path):
    """A call that is cancelled leaves no process behind."""
    os.mkfifo(tmp_path / "told")
    code = f"import os, time; open({str(tmp_path / 'told')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    user = {"exec": {"command": sys.executable, "args": ["-c", code]}}
    connection = await connect(config(kubeconfig_path=write("k", kubeconfig("http://127.0.0.1:1", user))))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.send, "GET", "/version", "get /version")
        pid = int(await anyio.to_thread.run_sync((tmp_path / "told").read_text))
        tasks.cancel_scope.cancel()
    await connection.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_plugin_may_give_certificates(write, tmp_path):
    """The next connection shows them; refused, the plugin's next one is shown."""
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    statuses = []
    for name in ("old", "new"):
        ours = ca.issue_cert("jane@example.org", common_name=name)
        certificate, key = ours.cert_chain_pems[0].bytes().decode(), ours.private_key_pem.bytes().decode()
        statuses.append({"clientCertificateData": certificate, "clientKeyData": key})
    pairs = write("pairs", json.dumps(statuses))
    code = """
import json, os, sys
from pathlib import Path
pairs = Path(sys.argv[1])
credential = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
credential["status"], *rest = json.loads(pairs.read_text())
pairs.write_text(json.dumps(rest))
print(json.dumps(credential))
"""
    names = []

    async def who(request):
        subject = request.transport.get_extra_info("ssl_object").getpeercert()["subject"]
        names.append(dict(part[0] for part in subject)["commonName"])
        return web.json_response({}, status=401 if names[-1] == "old" else 200)

    async with ScriptedApi({VERSION: [who]}, tls) as server:
        user = {"exec": {"command": sys.executable, "args": ["-c", code, str(pairs)]}}
        await ask(write("k", kubeconfig(server.url, user, {"certificate-authority": "ca.crt"})))
    assert names == ["old", "new"]


# The wire.


async def test_a_client_certificate_is_shown(write, tmp_path):
    """The server learns who we are from the certificate, and no file of it is left behind."""
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    ours = ca.issue_cert("jane@example.org", common_name="jane")
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    ours.private_key_pem.write_to_path(tmp_path / "key")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    names = []

    async def who(request):
        subject = request.transport.get_extra_info("ssl_object").getpeercert()["subject"]
        names.append(dict(part[0] for part in subject)["commonName"])
        return web.json_response({})

    folder = tmp_path / "temporary"
    folder.mkdir()
    tempfile.tempdir = str(folder)
    try:
        async with ScriptedApi({VERSION: [who]}, tls) as server:
            user = {"client-certificate": "crt", "client-key": "key"}
            await ask(write("k", kubeconfig(server.url, user, {"certificate-authority": "ca.crt"})))
    finally:
        tempfile.tempdir = None
    assert names == ["jane"]
    assert list(folder.iterdir()) == []


async def test_a_certificate_of_a_stranger_is_refused(write, tmp_path):
    """The error says that it can't be trusted, and what to look at; it is not tried again."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    async with ScriptedApi({VERSION: [GOOD]}, tls) as server:
        with pytest.raises(ProviderError) as caught:
            await ask(write("k", kubeconfig(server.url, cluster={"certificate-authority": "ca.crt"})))
        await ask(write("l", kubeconfig(server.url, cluster={"insecure-skip-tls-verify": True})))
    assert caught.value.message.endswith(
        f"the certificate of {server.url} can't be trusted: unable to get local issuer certificate; "
        "the kubeconfig's certificate-authority should be the one that signed it"
    )
    assert not caught.value.retryable
    assert len(server.seen) == 1


async def test_a_server_that_wants_a_certificate(write, tmp_path):
    """It hangs up during the handshake, which is told in words."""
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.maximum_version = ssl.TLSVersion.TLSv1_2  # later ones may hang up after the handshake
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    async with ScriptedApi({VERSION: [GOOD]}, tls) as server:
        with pytest.raises(ProviderUnavailableError, match=f"can't connect to {server.url}: it hung up"):
            await ask(write("k", kubeconfig(server.url, cluster={"certificate-authority": "ca.crt"})))


def test_an_alert_tells_that_the_certificate_was_refused():
    """As servers in Go send it: who we are is wrong, not where."""
    alert = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")
    broken = aiohttp.ClientOSError()
    broken.__cause__ = alert
    error = error_of_exception(broken, "get /version", "https://c")
    assert isinstance(error, AuthenticationError)
    assert "https://c refused the client certificate" in error.message


async def test_no_tls_where_there_should_be(write):
    """A server that speaks plain HTTP is no API server at https."""
    async with ScriptedApi({VERSION: [GOOD]}) as server:
        with pytest.raises(ProviderUnavailableError, match="no TLS with https://"):
            await ask(write("k", kubeconfig(server.url.replace("http:", "https:"))))


async def test_a_proxy_that_refuses(write):
    """It was not sent; the proxy's status is told."""
    async with ScriptedApi({}) as proxy:
        with pytest.raises(ProviderUnavailableError, match="the proxy answered 404") as caught:
            await ask(write("k", kubeconfig("https://cluster.invalid", cluster={"proxy-url": proxy.url})))
    assert not caught.value.sent


async def test_a_certificate_for_another_name(write, tmp_path):
    """tls-server-name says whom the certificate is for."""
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("kubernetes.internal").configure_cert(tls)
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    cluster = {"certificate-authority": "ca.crt", "tls-server-name": "kubernetes.internal"}
    async with ScriptedApi({VERSION: [GOOD]}, tls) as server:
        answer = await ask(write("k", kubeconfig(server.url, cluster=cluster)))
    assert answer.status == 200


async def test_a_proxy_is_asked(write):
    """With proxy-url the request goes there."""
    async with ScriptedApi({VERSION: [GOOD]}) as proxy:
        path = write("k", kubeconfig("http://cluster.invalid", cluster={"proxy-url": proxy.url}))
        await ask(path)
    assert proxy.seen[0].headers["Host"] == "cluster.invalid"


async def test_the_environment_names_a_proxy(write, monkeypatch):
    """HTTP_PROXY is used, but for what NO_PROXY says."""
    async with ScriptedApi({VERSION: [GOOD]}) as proxy, ScriptedApi({VERSION: [GOOD]}) as server:
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        await ask(write("k", kubeconfig("http://cluster.invalid")))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        await ask(write("l", kubeconfig(server.url)))
    assert (len(proxy.seen), len(server.seen)) == (1, 1)


async def test_no_password_is_taken_from_a_netrc(write, monkeypatch):
    """Who shows a certificate, or nothing, shows nothing else."""
    monkeypatch.setenv("NETRC", str(write("netrc", "default login jane password pw")))
    async with ScriptedApi({VERSION: [GOOD]}) as server:
        await ask(write("k", kubeconfig(server.url)))
    assert "Authorization" not in server.seen[0].headers


async def test_a_refused_connection_was_not_sent(write, unused_tcp_port):
    """So that any operation may be tried again."""
    with pytest.raises(ProviderUnavailableError) as caught:
        await ask(write("k", kubeconfig(f"http://127.0.0.1:{unused_tcp_port}")))
    assert not caught.value.sent
    assert caught.value.retryable
    assert f"127.0.0.1:{unused_tcp_port}" in caught.value.message


async def test_a_dropped_connection_may_have_been_sent(write):
    """The server may have acted upon the request."""

    async def drop(request):
        request.transport.abort()
        return web.Response()

    async with ScriptedApi({VERSION: [drop]}) as server:
        with pytest.raises(ProviderUnavailableError, match="dropped the connection") as caught:
            await ask(write("k", kubeconfig(server.url)))
    assert caught.value.sent
