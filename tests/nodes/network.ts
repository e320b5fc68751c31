import { BlockList } from "node:net";
import { execa } from "execa";

/** A bridge of this machine's that the nodes of one fleet are on. Nothing is routed: they reach this machine and each other. */
export class Network {
  readonly bridge: string;
  /** This machine, as the nodes see it. */
  readonly gateway: string;
  private readonly number: number;

  constructor(number: number) {
    this.number = number;
    this.bridge = `homecloud-f${number}`;
    this.gateway = `10.144.${number}.1`;
  }

  /** The address of the fleet's node number `index`. */
  address(index: number): string {
    return `10.144.${this.number}.${10 + index}`;
  }

  /** An interface whose network this one would be a part of, or the other way round. */
  async takenBy(): Promise<string | undefined> {
    // Node's own list leaves out interfaces that are down, or a bridge with nothing on it.
    const { stdout } = await execa("ip", ["-json", "-4", "address"]);
    const interfaces = JSON.parse(stdout) as { ifname: string; addr_info: { local: string; prefixlen: number }[] }[];
    const overlaps = ({ local, prefixlen }: { local: string; prefixlen: number }) =>
      contains(local, prefixlen, this.gateway) || contains(this.gateway, 24, local);
    return interfaces.find(({ addr_info }) => addr_info.some(overlaps))?.ifname;
  }

  async create(): Promise<void> {
    await ip([
      `link add ${this.bridge} type bridge`,
      `address add ${this.gateway}/24 dev ${this.bridge}`,
      `link set ${this.bridge} up`,
    ]);
  }

  /** Connects the node whose first process is `pid`. */
  async connect(pid: number, index: number): Promise<void> {
    const cable = this.cable(index);
    await ip([
      `link add ${cable} type veth peer name eth0 netns ${pid}`,
      `link set ${cable} master ${this.bridge}`,
      `link set ${cable} up`,
    ]);
    const inside = ["link set lo up", `address add ${this.address(index)}/24 dev eth0`, "link set eth0 up"];
    await ip(inside, ["nsenter", "--target", String(pid), "--net"]);
  }

  /** Pulls a node's cable out, or puts it in: neither side is told. */
  async plug(index: number, isIn: boolean): Promise<void> {
    await ip([`link set ${this.cable(index)} ${isIn ? "up" : "down"}`]);
  }

  /** Removes what there is, of this run or of one that was killed. */
  async remove(nodes: number): Promise<void> {
    // A node's end takes its cable along, but some time later.
    const cables = Array.from({ length: nodes }, (_, index) => `link delete ${this.cable(index)}`);
    await execa("ip", ["-force", "-batch", "-"], {
      input: [...cables, `link delete ${this.bridge}`].join("\n"),
      reject: false,
    });
  }

  private cable(index: number): string {
    return `${this.bridge}-${index}`;
  }
}

function contains(network: string, prefix: number, address: string): boolean {
  const list = new BlockList();
  list.addSubnet(network, prefix);
  return list.check(address);
}

async function ip(lines: string[], [command = "ip", ...before]: string[] = []): Promise<void> {
  const args = command === "ip" ? before : [...before, "ip"];
  await execa(command, [...args, "-batch", "-"], { input: lines.join("\n") });
}
