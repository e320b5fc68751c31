import { EXIT, UserError } from "../errors.ts";
import type { Facts } from "./read.ts";

/** What can be rotated. */
export const SUBJECTS = ["password", "puller", "ca"] as const;
export type Subject = (typeof SUBJECTS)[number];

/** Something to be typed, and why, or what it shows. */
interface Step {
  run: string;
  why?: string;
}

/** What a person does, in order, and what that does to whom. */
export interface Plan {
  title: string;
  steps: Step[];
  /** What happens to what runs. */
  effects: string[];
  /** Who has to be told, and who has not. */
  afterwards: string[];
}

/** The way to a new password, pull-only user or CA of this deployment. Throws a UserError where there is none to be had. */
export function planOf(subject: Subject, facts: Facts): Plan {
  return { password, puller, ca }[subject](facts);
}

function password(facts: Facts): Plan {
  const { host, user, pullers } = facts;
  return {
    title: `A new password for ${user}, who pushes to ${host}`,
    steps: [
      select(facts),
      {
        run: "pulumi config set --secret registryPassword",
        why: "asks for it; for a random one: openssl rand -base64 24 | pulumi config set --secret registryPassword",
      },
      ...up(
        "~ Secrets registry-users and registry-client, ~ Deployment registry; nothing replaced, and nothing deleted but the RandomPassword registry-password-writer, where it was generated until now",
      ),
      { run: "homecloud rotate check --former", why: "asks for the former one, and shows that it is refused" },
    ],
    effects: [AWAY, "The former password is out at once."],
    afterwards: [
      `where \`homecloud login\` was used: nothing, it asks the cluster each time`,
      `where \`docker login ${host}\` was used, and in CI's secrets: again, with the new one. Whoever goes on with the former gets 401, then 429`,
      `pull secrets and nodes: nothing, they have ${pullers[0]?.name ?? "a user of their own"}`,
      OTHER_STACKS,
    ],
  };
}

function puller(facts: Facts): Plan {
  const [newest, former] = facts.pullers;
  if (!newest) {
    throw new UserError(`no user who only pulls is in ${facts.namespace}: run pulumi up once more`, EXIT.missing);
  }
  const next = newest.name.replace(/\d+$/, `${newest.generation + 1}`);
  const wasDropped = newest.generation > 1 && !former;
  const namespaces = facts.pullSecrets.map(({ namespace }) => namespace);
  return {
    title: `${next} in place of ${newest.name}, who only pulls from ${facts.host}`,
    steps: [
      select(facts),
      ...(wasDropped
        ? [
            {
              run: "pulumi config set --path registry.keepFormerPullUser true",
              why: `${newest.name} stays until all have moved`,
            },
          ]
        : []),
      { run: `pulumi config set --path registry.pullUserGeneration ${newest.generation + 1}` },
      ...up(
        `+ RandomPassword registry-password-${next}, ~ Secrets registry-users${namespaces.length > 0 ? ` and ${namespaces.map((each) => `registry-pull-${each}`).join(", ")}` : ""}, ~ Deployment registry${facts.nodes ? ", ~ the nodes" : ""}`,
      ),
      { run: "homecloud rotate check" },
      {
        run: "pulumi config set --path registry.keepFormerPullUser false && pulumi up",
        why: `once all have moved: ${newest.name} is out`,
      },
    ],
    effects: [
      AWAY,
      `${newest.name} goes on until keepFormerPullUser is false.`,
      ...(former ? [`${former.name} is out at once: who still has it must move first.`] : []),
    ],
    afterwards: [
      `pull secrets (${listed(namespaces)}): the same up writes them; pods read them at their next pull`,
      `nodes (${listed(nodeNames(facts))}): the same up tells them, one after the other. After one that failed do not set keepFormerPullUser to false`,
      "whatever was given the former by hand: pulumi stack output registryPullPassword --show-secrets",
      OTHER_STACKS,
    ],
  };
}

function ca(facts: Facts): Plan {
  const { caGeneration: generation, caCopies, host } = facts;
  if (generation === undefined) {
    throw new UserError(
      `the certificate of ${host} is not of a CA of this stack's own (tls.mode private-ca): who issues it renews it, see docs/tls.md`,
    );
  }
  const namespaces = caCopies.map(({ where }) => where);
  return {
    title: `CA generation ${generation + 1} in place of ${generation}, for ${host}${facts.certificates.length > 1 ? " and all else" : ""}`,
    steps: [
      select(facts),
      { run: `pulumi config set --path tls.generation ${generation + 1}` },
      ...up(
        `+ a key and a certificate of the CA, ~ every certificate, ~ ConfigMaps homecloud-ca${facts.nodes ? ", ~ the nodes" : ""}; the volume is not touched`,
      ),
      { run: "homecloud rotate check" },
    ],
    effects: [
      "Where the gate ends TLS (access.mode node-port) the pods are made anew: the registry is away for 3 to 4 s, LocalStack for longer. Behind an ingress they go on.",
      `Who trusts generation ${generation} goes on: it signs the new one too, and servers send that along, until the next raise.`,
      ...(generation > 1 ? [`Who trusts only generation ${generation - 1} is out at once: tell those first.`] : []),
    ],
    afterwards: [
      `ConfigMaps (${listed(namespaces)}): the same up writes them; pods that read the CA at their start go on with the former until they start anew`,
      `nodes (${listed(nodeNames(facts))}): the same up tells them, without a restart`,
      "this machine and others where `homecloud login` was used: once more, it writes the new CA",
      "laptops, browsers, Docker: docs/trust-the-ca.md, with pulumi stack output caCertificate. Before the next raise, not at once",
      OTHER_STACKS,
    ],
  };
}

const AWAY =
  "The registry's pod is made anew: away for 3 to 4 s. A push under way fails and is to be repeated; nodes try a pull again by themselves.";

const OTHER_STACKS = "other stacks that read this one's outputs: pulumi up there";

const select = ({ stack }: Facts): Step => ({
  run: `pulumi stack select ${stack ?? "STACK"}`,
  why: stack ? "in the project's folder" : "in the project's folder; which stack it is does not stand in the cluster",
});

const up = (changes: string): Step[] => [{ run: "pulumi preview", why: changes }, { run: "pulumi up" }];

const nodeNames = ({ nodes }: Facts): string[] => Object.keys(nodes?.provenAt ?? {});

const listed = (names: string[]): string => names.join(", ") || "none";

/** For a person: what to type, what it does, who else is concerned. */
export function renderPlan({ title, steps, effects, afterwards }: Plan): string {
  const typed = steps.map(({ run, why }, index) => `${index + 1}. ${run}${why ? `\n   ${why}` : ""}`);
  return [
    `${title}. Nothing is changed by this list.`,
    ["", ...typed].join("\n"),
    ["", "What it does:", ...effects.map((line) => `- ${line}`)].join("\n"),
    ["", "Afterwards:", ...afterwards.map((line) => `- ${line}`)].join("\n"),
  ].join("\n");
}
