"""OpenSSH with a reverse forward: `ssh -R`. Always encrypted."""

import getpass
import os
import subprocess

from stage import System, free_port, wait_for_port, which

NEEDS = ["ssh", "sshd", "ssh-keygen"]

SERVER = """
Port {control}
ListenAddress 127.0.0.1
HostKey {folder}/ssh_host
AuthorizedKeysFile {folder}/ssh_user.pub
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
MaxSessions 1000
AllowTcpForwarding yes
PermitRootLogin yes
"""


def start(stage, path):
    port, control = free_port(), free_port()
    for name in ("ssh_host", "ssh_user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stage.folder / name)], check=True)
    os.makedirs("/run/sshd", exist_ok=True)
    server = stage.write("sshd_config", SERVER.format(control=control, folder=stage.folder))
    server = stage.spawn(which("sshd"), "-D", "-e", "-f", server)
    wait_for_port(control)  # a client that finds nobody behind a link does not try again
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes", "ConnectionAttempts=30"]
    client = ["ssh", "-N", "-i", str(stage.folder / "ssh_user"), "-p", str(path(control))]
    for option in options:
        client += ["-o", option]
    reverse = f"127.0.0.1:{port}:127.0.0.1:{stage.upstream}"
    client = stage.spawn(*client, "-R", reverse, f"{getpass.getuser()}@127.0.0.1")
    return System("ssh", port, [server, client])
