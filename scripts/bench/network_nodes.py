"""Machines that are not there: network namespaces joined by a bridge, every link limited to a rate
in both directions, and mpirun across them. Needs root, iproute2 and Open MPI. Nothing is left behind.

    with Nodes(4, "200mbit") as nodes:
        nodes.mpirun(["mariana_dnn", "--config", ...], ranks_per_node=1)
"""
import os
import signal
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
NETWORK = "10.99.%d.%d"


class Nodes:

    def __init__(self, number, rate=None):
        """rate: of each link, as tc writes it; None: unlimited."""
        self.number, self.rate = number, rate
        self.net = os.getpid() % 250 + 1  # several of us may run at once
        self.prefix = "mn%d." % os.getpid()
        self.names = []

    def name(self, node):
        return self.prefix + str(node)

    def address(self, node):
        return NETWORK % (self.net, 10 + node)

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    # Node 0 is where mpirun runs, with the bridge; the others are 1, 2, ...
    def _make(self):
        for node in range(self.number + 1):
            ip("netns", "add", self.name(node))
            self.names.append(self.name(node))
            ip("-n", self.name(node), "link", "set", "lo", "up")
        hub = self.name(0)
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "addr", "add", self.address(0) + "/24", "dev", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        for node in range(1, self.number + 1):
            port, own = "port%d" % node, self.name(node)
            ip("-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", own)
            ip("-n", hub, "link", "set", port, "master", "bridge", "up")
            ip("-n", own, "addr", "add", self.address(node) + "/24", "dev", "eth0")
            ip("-n", own, "link", "set", "eth0", "up")
            if self.rate:
                for place, device in ((hub, port), (own, "eth0")):
                    run("tc", "-n", place, "qdisc", "add", "dev", device, "root", "tbf", "rate",
                        self.rate, "burst", "128kb", "latency", "50ms")

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def command(self, words, ranks_per_node=1, nodes=None):
        hosts = ",".join("n%d:%d" % (k + 1, ranks_per_node)
                         for k in range(nodes or self.number))
        subnet = NETWORK % (self.net, 0) + "/24"
        return ["nsenter", "--net=/run/netns/" + self.name(0), "mpirun", "--bind-to", "none",
                "--oversubscribe", "--map-by", "slot", "-H", hosts,
                "--mca", "plm_rsh_agent", os.path.join(HERE, "node_agent"),
                "--mca", "oob_tcp_if_include", subnet, "--mca", "btl_tcp_if_include", subnet,
                "--mca", "pml", "ob1", "--mca", "btl", "tcp,self", "-x", "MARIANA_NODES",
                *words]

    def mpirun(self, words, ranks_per_node=1, nodes=None, timeout=240, **options):
        """The finished process; killed with all its ranks after `timeout` seconds."""
        environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "MARIANA_NODES": self.prefix}
        process = subprocess.Popen(self.command(words, ranks_per_node, nodes), env=environment,
                                   start_new_session=True, **options)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(*words):
    subprocess.run(words, check=True)


def ip(*words):
    run("ip", *words)
