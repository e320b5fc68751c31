type Labels = Record<string, string>;

/** One end of a connection within the cluster. */
export interface PodEnd {
  namespace: string;
  labels: Labels;
}

/** One end of a connection: a pod, or an address outside the cluster. */
export type End = PodEnd | "outside";

interface Peer {
  namespaceSelector?: { matchLabels?: Labels };
  podSelector?: { matchLabels?: Labels };
}

interface Rule {
  from?: Peer[];
  to?: Peer[];
  ports?: { protocol: string; port: number }[];
}

/** As much of a NetworkPolicy as this program uses. */
export interface Policy {
  metadata: { namespace?: string };
  spec: {
    podSelector: { matchLabels?: Labels };
    policyTypes: ("Ingress" | "Egress")[];
    ingress?: Rule[];
    egress?: Rule[];
  };
}

/** Whether a TCP connection is let through, by the policies of both ends, as a cluster that enforces them decides. */
export function isLetThrough(policies: Policy[], from: End, to: End, port: number): boolean {
  return isLetOut(policies, from, to, port) && isLetIn(policies, from, to, port);
}

/** Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/#the-two-sorts-of-pod-isolation */
function isLetIn(policies: Policy[], from: End, to: End, port: number): boolean {
  const rules = rulesFor(policies, to, "Ingress");
  return rules === undefined || rules.some((rule) => allows(rule.from, rule, from, to, port));
}

function isLetOut(policies: Policy[], from: End, to: End, port: number): boolean {
  const rules = rulesFor(policies, from, "Egress");
  return rules === undefined || rules.some((rule) => allows(rule.to, rule, to, from, port));
}

/** The rules that count for this pod; undefined where no policy concerns it, so that everything is allowed. */
function rulesFor(policies: Policy[], end: End, type: "Ingress" | "Egress"): Rule[] | undefined {
  if (end === "outside") return undefined;
  const own = policies.filter(
    ({ metadata, spec }) =>
      metadata.namespace === end.namespace && spec.policyTypes.includes(type) && selects(spec.podSelector, end.labels),
  );
  if (own.length === 0) return undefined;
  return own.flatMap(({ spec }) => (type === "Ingress" ? spec.ingress : spec.egress) ?? []);
}

function allows(peers: Peer[] | undefined, { ports }: Rule, other: End, own: End, port: number): boolean {
  const isPort = !ports || ports.some((allowed) => allowed.protocol === "TCP" && allowed.port === port);
  return isPort && (!peers || peers.some((peer) => isPeer(peer, other, own)));
}

function isPeer({ namespaceSelector, podSelector }: Peer, other: End, own: End): boolean {
  if (!namespaceSelector && !podSelector)
    throw new Error("a peer that is neither pods nor a namespace is not known here");
  if (other === "outside" || own === "outside") return false;
  const isNamespace = namespaceSelector
    ? selects(namespaceSelector, { "kubernetes.io/metadata.name": other.namespace })
    : other.namespace === own.namespace;
  return isNamespace && selects(podSelector ?? {}, other.labels);
}

const selects = ({ matchLabels = {} }: { matchLabels?: Labels }, labels: Labels): boolean =>
  Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
