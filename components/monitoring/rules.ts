/** One alert, in the form that Prometheus reads. */
export interface Alert {
  alert: string;
  expr: string;
  for?: string;
  labels: Record<string, string>;
  annotations: { summary: string; description: string; runbook: string };
}

/** Alerts that are evaluated together. */
export interface RuleGroup {
  name: string;
  rules: Alert[];
}

/** A certificate that is watched, and how. */
export interface WatchedCertificate {
  namespace: string;
  /** Secret that holds it. */
  secret: string;
  /** When it expires, in seconds since 1970; undefined where cert-manager issues it, and is to be asked. */
  expires: number | undefined;
}

export interface RuleOptions {
  /** Namespace of the registry. */
  registry: string;
  /** Namespace of LocalStack; undefined where there is none. */
  localstack: string | undefined;
  certificates: WatchedCertificate[];
}

type Severity = "warning" | "critical";

/** A workload as the rules know it. */
interface Workload {
  /** In the names of its alerts. */
  name: string;
  /** In sentences. */
  title: string;
  namespace: string;
  deployment: string;
  /** What all of its gauges begin with. */
  gauges: string;
  /** Counter of requests by class of status. */
  requests: string;
  /** Selects the series of whatever makes its errors meant to be; empty where there is nothing like it. */
  pause: string;
}

/** Where each alert is explained. */
const GUIDE = "docs/monitoring.md";

const DAY = 24 * 3600;
/** Days before a certificate expires in which somebody is told. */
const CERTIFICATE_DAYS = 14;

/** Shares of the limit above which somebody is told. */
const STORAGE_STEPS: [Severity, number][] = [
  ["warning", 0.8],
  ["critical", 0.95],
];

/** Answers of 500 and above: the share that is too much, and how many there must be: at home one may be half of all. */
const ERRORS = { share: 0.05, least: 10 };

/** Every client asks once without a login, which is 401 too, and no failure. */
const FAILED_LOGIN_LINES = `grep -E '"status":4(01|29)' | grep -v '"user":""'`;

/** In 15 minutes. A node with an old pull secret makes some ten, whoever guesses hundreds. */
const FAILED_LOGINS = 20;

/**
 * What somebody is to be told of, and when. Every alert is about one namespace, and its labels do not change with the pod:
 * else it would begin anew with each. Written for Prometheus 2.42 and later.
 */
export function renderRules({ registry, localstack, certificates }: RuleOptions): RuleGroup[] {
  const groups = [
    { name: "homecloud-registry", rules: [...workloadAlerts(registryOf(registry)), failedLogins(registry)] },
    { name: "homecloud-localstack", rules: localstack ? workloadAlerts(localstackOf(localstack)) : [] },
    { name: "homecloud-certificates", rules: certificates.flatMap(certificateAlerts) },
  ];
  return groups.filter(({ rules }) => rules.length > 0);
}

const registryOf = (namespace: string): Workload => ({
  name: "HomecloudRegistry",
  title: "The registry",
  namespace,
  deployment: "registry",
  gauges: "homecloud_registry",
  requests: "homecloud_gate_requests_total",
  // While garbage is collected writes get 503, and are meant to.
  pause: `homecloud_registry_maintenance${inNamespace(namespace)}`,
});

const localstackOf = (namespace: string): Workload => ({
  name: "HomecloudLocalStack",
  title: "LocalStack",
  namespace,
  deployment: "localstack",
  gauges: "homecloud_localstack",
  requests: "homecloud_localstack_requests_total",
  pause: "",
});

const workloadAlerts = (workload: Workload): Alert[] => [
  down(workload),
  ...STORAGE_STEPS.map(([severity, share]) => storage(workload, severity, share)),
  refuses(workload),
  errors(workload),
];

/**
 * Scaled to zero it has no series, unreachable a stale one, unready a 0. All are the same to whoever uses it, and one alert
 * whose time does not begin anew when one turns into the other. Figures stay the same where the container that writes them
 * has died: the gate hands the last ones out.
 */
function down({ name, title, namespace, deployment, gauges }: Workload): Alert {
  const only = inNamespace(namespace);
  return alert(`${name}Down`, "critical", namespace, {
    expr: `absent(
  ${gauges}_healthy${only} == 1
  and changes(${gauges}_metrics_timestamp_seconds${only}[10m]) > 0
)`,
    for: "5m",
    summary: `${title} in ${namespace} is down`,
    description:
      `For five minutes it has not been ready, or Prometheus has not read its metrics. See: ` +
      `kubectl -n ${namespace} get pods; kubectl -n ${namespace} describe deployment ${deployment}`,
  });
}

/**
 * Both steps have one name: the Alertmanager of kube-prometheus-stack keeps a warning to itself while something critical of
 * the same name and namespace is told.
 */
function storage({ name, title, namespace, gauges }: Workload, severity: Severity, share: number): Alert {
  const only = inNamespace(namespace);
  return alert(`${name}FillingUp`, severity, namespace, {
    expr: `max by (namespace) (${gauges}_used_bytes${only} / ${gauges}_limit_bytes${only}) > ${share}`,
    for: "5m",
    summary: `${title} in ${namespace} has used more than ${share * 100} % of its storage`,
    description: "{{ $value | humanizePercentage }} of the limit are used. Writes stop below it, by the reserve.",
  });
}

/** With a small limit the reserve is reached below 95 %, and a disk that others fill at any time. */
function refuses({ name, title, namespace, gauges }: Workload): Alert {
  return alert(`${name}RefusesWrites`, "critical", namespace, {
    expr: `max by (namespace) (${gauges}_full${inNamespace(namespace)}) == 1`,
    for: "5m",
    summary: `${title} in ${namespace} takes no more writes`,
    description: "Its storage is full up to the reserve, or the node's disk is. Reads and deletes go on.",
  });
}

function errors({ name, title, namespace, requests, pause }: Workload): Alert {
  const failed = increase(requests, namespace, 'class="5xx"');
  const all = increase(requests, namespace);
  return alert(`${name}Errors`, "warning", namespace, {
    expr: `${failed} / ${all} > ${ERRORS.share}
  and ${failed} >= ${ERRORS.least}${pause && `\n  unless max by (namespace) (max_over_time(${pause}[15m])) == 1`}`,
    summary: `${title} in ${namespace} answers with errors`,
    description: "{{ $value | humanizePercentage }} of the last 15 minutes' answers had a status of 500 or above.",
  });
}

/** LocalStack has no login. */
function failedLogins(namespace: string): Alert {
  return alert("HomecloudRegistryFailedLogins", "warning", namespace, {
    expr: `${increase("homecloud_gate_failed_logins_total", namespace)} > ${FAILED_LOGINS}`,
    summary: `Logins to the registry in ${namespace} fail`,
    description:
      '{{ $value | printf "%.0f" }} in 15 minutes: somebody guesses passwords, or a machine has an old one. By whom: ' +
      `kubectl -n ${namespace} logs deploy/registry -c gate --since=15m | ${FAILED_LOGIN_LINES}`,
  });
}

/**
 * Of a certificate of the stack's own CA the rule carries the date: nothing but `pulumi up` makes another, and changes the
 * rule with it. It works behind an ingress too, where no pod of ours holds the certificate. cert-manager renews by itself,
 * and tells the date of each.
 */
function certificateAlerts(certificate: WatchedCertificate): Alert[] {
  const { namespace, secret, expires } = certificate;
  const left = expires === undefined ? `min(${askCertManager(certificate)})` : `vector(${expires})`;
  const remedy =
    expires === undefined
      ? `cert-manager has not renewed it: kubectl -n ${namespace} describe certificate ${secret}`
      : "pulumi up renews it";
  const expiring = alert("HomecloudCertificateExpires", "warning", namespace, {
    expr: `${left} - time() < ${CERTIFICATE_DAYS * DAY}`,
    summary: `The certificate ${secret} in ${namespace} expires within ${CERTIFICATE_DAYS} days`,
    description: `{{ if gt $value 0.0 }}It expires in {{ $value | humanizeDuration }}{{ else }}It has expired{{ end }}: ${remedy}.`,
  });
  const alerts = expires === undefined ? [expiring, unwatched(certificate)] : [expiring];
  return alerts.map((one) => ({ ...one, labels: { ...one.labels, certificate: secret } }));
}

/** An alert about a metric that nobody reads would never fire. */
function unwatched(certificate: WatchedCertificate): Alert {
  const { namespace, secret } = certificate;
  return alert("HomecloudCertificateNotWatched", "warning", namespace, {
    expr: `absent(${askCertManager(certificate)})`,
    for: "1h",
    summary: `Nobody tells when the certificate ${secret} in ${namespace} expires`,
    description: "Prometheus has no figure of cert-manager's for it: let it read cert-manager's metrics.",
  });
}

/** Its label `namespace` is called otherwise where its ServiceMonitor leaves that name to cert-manager's own namespace. */
const askCertManager = ({ namespace, secret }: WatchedCertificate): string =>
  ["namespace", "exported_namespace"]
    .map((label) => `certmanager_certificate_expiration_timestamp_seconds{name="${secret}",${label}="${namespace}"}`)
    .join(" or ");

const inNamespace = (namespace: string): string => `{namespace="${namespace}"}`;

const increase = (counter: string, namespace: string, ...matchers: string[]): string =>
  `sum by (namespace) (increase(${counter}{${[`namespace="${namespace}"`, ...matchers].join(",")}}[15m]))`;

interface AlertParts {
  expr: string;
  /** How long it must last. Defaults to not at all. */
  for?: string;
  summary: string;
  description: string;
}

function alert(name: string, severity: Severity, namespace: string, parts: AlertParts): Alert {
  return {
    alert: name,
    expr: parts.expr,
    ...(parts.for ? { for: parts.for } : {}),
    labels: { severity, namespace },
    annotations: {
      summary: parts.summary,
      description: parts.description,
      runbook: `${GUIDE}#${name.toLowerCase()}`,
    },
  };
}
