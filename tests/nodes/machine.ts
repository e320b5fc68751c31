import { debianRoot } from "../../lab/debian.ts";
import { builtPath } from "../../lab/go-builds.ts";

/** A test node, as it is ordered. */
export interface NodeSpec {
  name: string;
  /** Says nothing about a plain containerd node. */
  role: "server" | "agent";
  /** Defaults to k3s. */
  distribution?: "k3s" | "rke2" | "containerd";
  /** Who logs in. Defaults to root. */
  user?: string;
  /** Whether that user becomes root by `sudo -n`. Defaults to true. */
  sudo?: boolean;
  /** The user's login shell, which runs what SSH is given. Of dash and busybox, /bin/sh is the same one. Defaults to bash. */
  shell?: "bash" | "dash" | "busybox";
  /** Size of the disk that holds /etc/rancher, as mount takes it. Defaults to 1m. */
  settingsDisk?: string;
}

/** What makes a node known to others. */
export interface Keys {
  /** Private and public key of the node's sshd. */
  host: { private: string; public: string };
  /** Public key of whoever logs in. */
  user: string;
}

interface OwnFile {
  path: string;
  text: string;
  mode: number;
  user: number;
}

/** A node as lab/k3s takes it (machine.go). */
export interface Machine {
  name: string;
  root: string;
  packages: string;
  size: string;
  binds: { from: string; to: string }[];
  disks: { path: string; size: string }[];
  folders: { path: string; mode: number; user: number }[];
  files: OwnFile[];
  links: { path: string; to: string }[];
  owners: { path: string; mode: number }[];
  units: Unit[];
}

interface Unit {
  name: string;
  description: string;
  command: string[];
  notify?: boolean;
  runtimeDirectory?: string;
}

const USER_ID = 1000;
const PROGRAMS = "/usr/local/lib/homecloud";
const STAND_IN = `${PROGRAMS}/k3s`;
const RKE2_BIN = "/var/lib/rancher/rke2/bin";
export const SETTINGS_DISK = "/etc/rancher";
/** As in lab/k3s/faults.go. */
export const FAULTS = "/var/lib/k3s-stand-in";

/** The node's service that reads registries, its settings folder, and how containerd's CRI is reached there. */
export function partsOf({ distribution = "k3s", role }: NodeSpec): { service: string; crictl: string } {
  if (distribution === "containerd") return { service: "containerd", crictl: "crictl" };
  if (distribution === "rke2") {
    const settings = "/var/lib/rancher/rke2/agent/etc/crictl.yaml";
    return { service: `rke2-${role}`, crictl: `CRI_CONFIG_FILE=${settings} ${RKE2_BIN}/crictl` };
  }
  return { service: role === "server" ? "k3s" : "k3s-agent", crictl: "k3s crictl" };
}

/** Everything about a node that this machine does not have, to be mounted on the empty folder `root`. */
export function describeMachine(spec: NodeSpec, keys: Keys, root: string): Machine {
  return {
    name: spec.name,
    root,
    packages: debianRoot,
    size: "512m",
    binds: (["k3s", "crictl"] as const).map((name) => ({ from: builtPath(name), to: `${PROGRAMS}/${name}` })),
    disks: [{ path: SETTINGS_DISK, size: spec.settingsDisk ?? "1m" }],
    folders: folders(spec),
    files: [...identity(spec), ...ssh(spec, keys), ...sudo(spec), ...containerd(spec)],
    links: links(spec),
    owners: [
      { path: "/usr/bin/sudo", mode: 0o4755 },
      { path: "/usr/libexec/sudo/sudoers.so", mode: 0o644 },
    ],
    units: [
      {
        name: "ssh",
        description: "OpenBSD Secure Shell server",
        command: ["/usr/sbin/sshd", "-D", "-e"],
        runtimeDirectory: "sshd",
      },
      service(spec),
    ],
  };
}

function service(spec: NodeSpec): Unit {
  const { distribution = "k3s", role } = spec;
  const { service: name } = partsOf(spec);
  if (distribution === "containerd")
    return { name, description: "containerd container runtime", command: ["/usr/bin/containerd"], notify: true };
  const description = { k3s: "Lightweight Kubernetes", rke2: `Rancher Kubernetes Engine v2 (${role})` }[distribution];
  return { name, description, command: [`/usr/local/bin/${distribution}`, role], notify: true };
}

const home = ({ user = "root" }: NodeSpec) => (user === "root" ? "/root" : `/home/${user}`);
const userId = ({ user = "root" }: NodeSpec) => (user === "root" ? 0 : USER_ID);

function folders(spec: NodeSpec): Machine["folders"] {
  const own = (mode: number, ...paths: string[]) => paths.map((path) => ({ path, mode, user: 0 }));
  return [
    ...own(0o755, "/run", "/var/lib/rancher", "/var/log", "/opt", "/srv", "/mnt", "/home", FAULTS),
    ...own(0o700, "/root", "/var/log/journal"),
    ...own(0o1777, "/tmp", "/var/tmp"),
    { path: home(spec), mode: 0o700, user: userId(spec) },
    { path: `${home(spec)}/.ssh`, mode: 0o700, user: userId(spec) },
  ];
}

function file(path: string, text: string, { mode = 0o644, user = 0 } = {}): OwnFile {
  return { path, text, mode, user };
}

/** Names, users and how names are looked up: none of this machine's own. */
function identity(spec: NodeSpec): OwnFile[] {
  const { name, user = "root" } = spec;
  const shell = `/bin/${spec.shell === "busybox" ? "sh" : (spec.shell ?? "bash")}`;
  const people = user === "root" ? [] : [`${user}:x:${USER_ID}:${USER_ID}::${home(spec)}:${shell}`];
  const passwd = [
    `root:x:0:0:root:/root:${user === "root" ? shell : "/bin/bash"}`,
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
    "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin",
    ...people,
  ];
  const group = ["root:x:0:", "tty:x:5:", "nogroup:x:65534:", ...(user === "root" ? [] : [`${user}:x:${USER_ID}:`])];
  // '*' is a password that none matches; '!' would lock the user out of keys too.
  const shadow = passwd.map((line) => `${line.split(":")[0]}:*:20000:0:99999:7:::`);
  const lines = (entries: string[]) => `${entries.join("\n")}\n`;
  return [
    file("/etc/hostname", `${name}\n`),
    file("/etc/hosts", `127.0.0.1 localhost\n127.0.1.1 ${name}\n`),
    // lab/k3s/dns.go knows no name: all that resolves is in the file of hosts.
    file("/etc/resolv.conf", "nameserver 127.0.0.1\n"),
    file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
    file("/etc/passwd", lines(passwd)),
    file("/etc/group", lines(group)),
    file("/etc/shadow", lines(shadow), { mode: 0o600 }),
  ];
}

function ssh(spec: NodeSpec, keys: Keys): OwnFile[] {
  const config = `Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
`;
  return [
    file("/etc/ssh/sshd_config", config),
    file("/etc/ssh/ssh_host_ed25519_key", keys.host.private, { mode: 0o600 }),
    file("/etc/ssh/ssh_host_ed25519_key.pub", `${keys.host.public}\n`),
    file(`${home(spec)}/.ssh/authorized_keys`, `${keys.user}\n`, { mode: 0o600, user: userId(spec) }),
  ];
}

/** Debian's sudo, without the PAM modules that this machine may have set up. */
function sudo({ user = "root", sudo: allowed = true }: NodeSpec): OwnFile[] {
  const sudoers = `Defaults env_reset
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
${user !== "root" && allowed ? `${user} ALL=(ALL) NOPASSWD: ALL\n` : ""}`;
  const pam = "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
  return [
    file("/etc/sudoers", sudoers, { mode: 0o440 }),
    file("/etc/pam.d/sudo", pam),
    // Else it complains where root lacks CAP_SYS_RESOURCE, as in a container.
    file("/etc/sudo.conf", "Set disable_coredump false\n"),
  ];
}

function containerd({ distribution }: NodeSpec): OwnFile[] {
  if (distribution !== "containerd") return [];
  const config = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
`;
  return [
    file("/etc/containerd/config.toml", config),
    file("/etc/crictl.yaml", "runtime-endpoint: unix:///run/containerd/containerd.sock\n"),
  ];
}

/** Programs under the names by which they are called, in the place of this machine's own. */
function links({ distribution = "k3s", shell }: NodeSpec): Machine["links"] {
  const systemd = ["/usr/bin/systemctl", "/usr/bin/journalctl"].map((path) => ({ path, to: STAND_IN }));
  const sh = shell === "busybox" || shell === "dash" ? [{ path: "/bin/sh", to: shell }] : [];
  return [...systemd, ...sh, ...programs(distribution), { path: "/var/run", to: "/run" }];
}

function programs(distribution: NonNullable<NodeSpec["distribution"]>): Machine["links"] {
  const crictl = `${PROGRAMS}/crictl`;
  if (distribution === "containerd") return [{ path: "/usr/local/bin/crictl", to: crictl }];
  const main = { path: `/usr/local/bin/${distribution}`, to: STAND_IN };
  if (distribution === "k3s") return [main];
  return [main, { path: `${RKE2_BIN}/crictl`, to: crictl }, { path: `${RKE2_BIN}/kubectl`, to: STAND_IN }];
}
