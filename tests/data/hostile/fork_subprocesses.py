"""Starts shells for ever and waits for none."""

import subprocess

children = []
while True:
    children.append(subprocess.Popen(["/bin/sh", "-c", "sleep 300"]))
