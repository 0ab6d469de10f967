"""The sockets that replicas are handed."""

import socket

import pytest
from process_deployments import listens
from replicas import descriptors

from aioproviders.deployment import Port, Probe
from aioproviders.deployment.process.listeners import Listeners
from aioproviders.deployment.process.sockets import Sockets
from aioproviders.errors import ConfigurationError, ConflictError


def bound(port, mode="inherit", host="127.0.0.1"):
    return Sockets.bind(host, [Port(port=port)], mode)


def test_a_port_that_is_taken(free_port):
    """It is refused by name, whatever the mode."""
    with socket.create_server(("127.0.0.1", free_port)):
        for mode in ("inherit", "reuse_port"):
            with pytest.raises(ConflictError, match=f"127.0.0.1:{free_port} is taken"):
                bound(free_port, mode)


def test_an_address_that_is_not_here(free_port):
    """The mistake is in the config."""
    with pytest.raises(ConfigurationError, match="see 'host' and 'ports'"):
        bound(free_port, host="192.0.2.1")


def test_nothing_stays_open_where_one_port_is_taken(free_port):
    """The ports before it are free again."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        before = descriptors()
        with pytest.raises(ConflictError):
            Sockets.bind("127.0.0.1", [Port(port=free_port), Port(port=taken, name="admin")], "inherit")
        assert descriptors() == before


def test_all_replicas_get_the_same(free_port):
    """With "inherit" the socket is one, and stays open when a replica's own are closed."""
    sockets = bound(free_port)
    one, two = sockets.for_replica(), sockets.for_replica(Probe())
    assert one.handed == two.handed[:1]
    assert [name for name, _ in two.handed] == ["http", "http.probe"]
    assert two.address_of("http") == two.address_of(None) == two.address_of(free_port)
    two.close()
    assert one.handed[0][1].fileno() > 0
    sockets.close()
    assert one.handed[0][1].fileno() < 0


def test_reuse_port_hands_over_nothing(free_port):
    """The port is kept, the replica binds it itself; connections wait for nobody."""
    sockets = bound(free_port, "reuse_port")
    assert sockets.for_replica().handed == []
    assert sockets.for_replica().env == {"PORT": str(free_port), "PORT_HTTP": str(free_port)}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port))
    sockets.close()


def test_a_port_each(free_port):
    """With "per_replica" each has its own, which is closed with it."""
    sockets = Sockets.bind(
        "127.0.0.1", [Port(port=free_port), Port(port=free_port, name="admin-api")], "per_replica"
    )
    one, two = sockets.for_replica(Probe(port="admin-api")), sockets.for_replica()
    numbers = {address[1] for item in (one, two) for address in item.addresses.values()}
    assert len(numbers) == 4
    assert one.env["PORT"] == one.env["PORT_HTTP"] == str(one.address_of("http")[1])
    assert one.env["PORT_ADMIN_API"] == str(one.address_of("admin-api")[1])
    assert one.handed == []
    assert one.endpoints == tuple("{}:{}".format(*address) for address in one.addresses.values())
    # Its program binds it, and nobody answers before that.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(one.address_of("http"))
    with socket.create_server(one.address_of("http")), socket.create_connection(one.address_of("http")):
        pass
    one.close()
    two.close()
    assert all(item.fileno() < 0 for item in one.own)


def test_ipv6(free_port):
    """An address of IPv6 is as good."""
    sockets = bound(free_port, host="::1")
    with socket.create_connection(("::1", free_port)):
        pass
    sockets.close()


def test_each_port_that_probes_ask_has_a_socket(free_port):
    """Probes of two shared ports reach the replica by two sockets of its own; of one port, by one."""
    sockets = Sockets.bind("127.0.0.1", [Port(port=free_port)], "inherit")
    two_ports = Sockets("127.0.0.1", [*sockets.ports, Port(port=1, name="admin")], "reuse_port", {})
    own = two_ports.for_replica(Probe(), Probe(port="admin"), Probe(port="http"), None)
    assert [name for name, _ in own.handed] == ["http.probe", "admin.probe"]
    assert own.address_of("admin") != own.address_of("http")
    own.close()
    sockets.close()


def test_a_number_that_is_no_port_of_the_deployment(free_port):
    """It is one that the program itself has opened."""
    sockets = Sockets.bind("127.0.0.1", [Port(port=free_port)], "per_replica")
    own = sockets.for_replica()
    assert own.address_of(9) == ("127.0.0.1", 9)
    assert own.address_of("other") is None
    own.close()


def test_what_could_not_be_bound_is_not_bound_to_be_kept(configure, free_port, other_port):
    """Tidying up does no harm where a release has no sockets: its port is another program's now."""
    listeners = Listeners()
    listeners.bind(configure())
    with socket.create_server(("127.0.0.1", other_port)):
        listeners.keep([configure(), configure(ports=[{"port": other_port}])])
    assert listens(free_port)
    listeners.keep([])
    assert not listens(free_port)
