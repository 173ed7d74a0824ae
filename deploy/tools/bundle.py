"""Makes the configuration of runc for containers.sh, from an image and from its service in compose.yaml.

bundle.py settings COMPOSE BUNDLE          changes BUNDLE/config.json, which `runc spec` wrote: the user and the environment of
                                           the image (BUNDLE/image.json), the restrictions and limits of the service
bundle.py container BUNDLE FOLDER WORD...  writes FOLDER/config.json for a container that runs these words
bundle.py health BUNDLE                    prints the words of the image's health check, one a line
"""

import json
import os
import resource
import sys
from pathlib import Path

# The service of compose.yaml whose limits the containers of an image have.
SERVICES = {"gateway": "gateway-1"}
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
CPU_PERIOD_US = 100_000
# The variables that a container gets from this process, as with `docker run --env`.
PASSED = ("TIDINGS_", "DATABASE_URL", "REDIS_URL", "RUST_")


def image_of(bundle: Path) -> dict:
    """The settings of an image, as Docker names them."""
    return json.loads((bundle / "image.json").read_text())["Docker"]["config"]


def limits_of(service: dict) -> dict:
    """The limits of memory and CPU of a service."""
    limits = service["deploy"]["resources"]["limits"]
    memory = limits["memory"]
    found: dict = {"memory": {"limit": int(memory[:-1]) * SIZES[memory[-1]]}}
    if "cpus" in limits:
        found["cpu"] = {"quota": int(float(limits["cpus"]) * CPU_PERIOD_US), "period": CPU_PERIOD_US}
    return found


def settings(compose: Path, bundle: Path) -> None:
    """Applies the image and its service to the default configuration."""
    from checks.compose import load

    service = load(compose)["services"][SERVICES.get(bundle.name, bundle.name)]
    image, file = image_of(bundle), bundle / "config.json"
    made = json.loads(file.read_text())
    user, _, group = image["User"].partition(":")
    process = made["process"]
    process |= {"terminal": False, "user": {"uid": int(user), "gid": int(group)}, "env": image["Env"], "cwd": "/"}
    process["noNewPrivileges"] = "no-new-privileges:true" in service["security_opt"]
    if service["cap_drop"] == ["ALL"]:
        process["capabilities"] = {kind: [] for kind in process["capabilities"]}
    if "nofile" in service.get("ulimits", {}):
        # A machine that is a container itself may not permit more files than it has.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        bounds = {name: min(value, most) for name, value in service["ulimits"]["nofile"].items()}
        process["rlimits"] = [{"type": "RLIMIT_NOFILE"} | bounds]
    made["root"] = {"path": str(bundle / "rootfs"), "readonly": service["read_only"]}
    linux = made["linux"]
    linux["resources"] |= limits_of(service)
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
    file.write_text(json.dumps(made, indent=2))


def container(bundle: Path, folder: Path, words: list[str]) -> None:
    """Adds the command, and variables of this process, which go before those of the image."""
    made = json.loads((bundle / "config.json").read_text())
    process = made["process"]
    given = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
    process["env"] = [f"{name}={value}" for name, value in (dict(one.split("=", 1) for one in process["env"]) | given).items()]
    process["args"] = words
    made["linux"]["cgroupsPath"] = f"/tidings-{bundle.name}-{os.getppid()}"
    (folder / "config.json").write_text(json.dumps(made, indent=2))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["settings", compose, bundle]:
            settings(Path(compose), Path(bundle))
        case ["container", bundle, folder, *words]:
            container(Path(bundle), Path(folder), words)
        case ["health", bundle]:
            print("\n".join(image_of(Path(bundle))["Healthcheck"]["Test"][1:]))
        case _:
            sys.exit(__doc__)
