"""A shell's sleep under the name `polymath-escape`, in its own session."""

import subprocess

subprocess.Popen(["polymath-escape", "300"], executable="/bin/sleep", start_new_session=True)
