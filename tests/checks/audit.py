"""Looks for known vulnerabilities in what is installed here, with pip-audit. Part of `make check`.

Where pip-audit can't reach its data this says so and passes: a machine without the Internet is no vulnerability.
"""

import json
import subprocess
import sys


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner=off"]
    done = subprocess.run([*command, "--format=json"], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        said = done.stderr.strip().rpartition("\n")[2]
        print(f"SKIPPED the search for known vulnerabilities, because pip-audit can't reach its data: {said}")
        return
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        reason = next((package["skip_reason"] for package in packages if package["name"] != "queuer"), "none are here")
        print(f"SKIPPED the search for known vulnerabilities, because pip-audit finds no data: {reason}")
        return
    found = [f"{each['name']} {each['version']}: {flaw['id']}" for each in audited for flaw in each["vulns"]]
    if found:
        sys.exit("known vulnerabilities; raise the version, or say in docs/security.md why not:\n" + "\n".join(found))
    print(
        f"pip-audit knows of no vulnerability in {len(audited)} packages; {len(packages) - len(audited)} it can't tell"
    )


if __name__ == "__main__":
    main()
