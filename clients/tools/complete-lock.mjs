// Completes clients/package-lock.json after an `npm install` that changed it: `node tools/complete-lock.mjs`. If a
// registry lacks packages for other platforms, npm omits them from the lock file, and `npm ci` then refuses the file.
// This program adds entries for such packages, whose names contain the platform.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const OS = /^(aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)$/;
const CPU = /^(arm|arm64|ia32|loong64|mips64el|ppc64|riscv64|s390x|wasm32|x64)$/;
const LIBC = { musl: "musl", musleabihf: "musl", gnu: "glibc", gnueabihf: "glibc" };

const file = fileURLToPath(new URL("../package-lock.json", import.meta.url));
const lock = JSON.parse(readFileSync(file, "utf8"));
const addedPackages = {};

/** Makes a package's lock entry for one platform from its name; undefined when the name has no platform. */
function entryForPlatform(name, version, { dev }) {
  const words = name.split("/").at(-1).split(/[-.]/);
  const os = words.find((word) => OS.test(word));
  const cpu = words.find((word) => CPU.test(word));
  const [libc] = words.flatMap((word) => LIBC[word] ?? []);
  if (os === undefined && cpu === undefined) return undefined;
  return {
    version,
    ...(cpu ? { cpu: [cpu] } : {}),
    ...(dev ? { dev } : {}),
    ...(libc ? { libc: [libc] } : {}),
    optional: true,
    ...(os ? { os: [os] } : {}),
  };
}

for (const entry of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`;
    if (path in lock.packages) continue;
    const platformEntry = entryForPlatform(name, version, entry);
    if (platformEntry === undefined || !/^\d/.test(version))
      process.stderr.write(`cannot complete: ${name} ${version}\n`);
    else addedPackages[path] = platformEntry;
  }
}
const packages = Object.entries({ ...lock.packages, ...addedPackages }).sort(([a], [b]) => (a < b ? -1 : 1));
writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(packages) }, null, 2)}\n`);
process.stdout.write(`${Object.keys(addedPackages).length} packages completed\n`);
