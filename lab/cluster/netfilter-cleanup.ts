/**
 * Input for `iptables-restore --noflush` that removes every KUBE- chain and every rule that leads there or carries the
 * comment, given the output of `iptables-save`. The lab refuses to start beside another node agent, so on this machine
 * KUBE- chains are its own.
 */
export function netfilterCleanup(saved: string, comment: string): string {
  return tablesOf(saved)
    .map((table) => cleanTable(table, comment))
    .join("");
}

interface Table {
  name: string;
  chains: string[];
  /** Rules as iptables-save prints them: `-A CHAIN …`. */
  rules: string[];
}

function tablesOf(saved: string): Table[] {
  const tables: Table[] = [];
  for (const line of saved.split("\n")) {
    if (line.startsWith("*")) tables.push({ name: line.slice(1), chains: [], rules: [] });
    else if (line.startsWith(":")) tables.at(-1)?.chains.push(line.slice(1).split(" ")[0] ?? "");
    else if (line.startsWith("-A ")) tables.at(-1)?.rules.push(line);
  }
  return tables;
}

function cleanTable({ name, chains, rules }: Table, comment: string): string {
  const kube = chains.filter((chain) => chain.startsWith("KUBE-"));
  const ours = rules.filter((rule) => {
    const insideKube = rule.startsWith("-A KUBE-");
    return (
      !insideKube &&
      (/ -j KUBE-/.test(rule) || rule.includes(`--comment ${comment} `) || rule.includes(`--comment "${comment}"`))
    );
  });
  if (kube.length === 0 && ours.length === 0) return "";
  return [
    `*${name}`,
    ...ours.map((rule) => rule.replace(/^-A /, "-D ")),
    ...kube.map((chain) => `-F ${chain}`),
    ...kube.map((chain) => `-X ${chain}`),
    "COMMIT",
    "",
  ].join("\n");
}
