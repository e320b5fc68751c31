import { isIP } from "node:net";
import { type ConnectionOptions, connect, getCACertificates } from "node:tls";
import { type Address, addressesOf } from "./addresses.ts";
import { type Criterion, fail, notMeasured, pass } from "./criterion.ts";

const PATIENCE = 5000;

export const certificates: Criterion = {
  id: "certificates",
  title: "Every certificate, as this machine sees it",
  limit: "trusted, for its host, not expired",
  measure: async (run) => {
    const addresses = (await addressesOf(run)).filter(({ url }) => url.protocol === "https:");
    if (addresses.length === 0) return notMeasured("there is no TLS (tls.mode none)");
    const seen = await Promise.all(addresses.map(handshake));
    const wrong = seen.flatMap(({ problem }) => problem ?? []);
    if (wrong.length > 0) return fail(wrong.join(", "), "see docs/tls.md; a private CA's are renewed by pulumi up");
    const ends = Math.min(...seen.map(({ ends = 0 }) => ends));
    const days = Math.floor((ends - Date.now()) / 86_400_000);
    return pass(`${addresses.length} of ${addresses.length}, the first ends in ${days} days`);
  },
};

/** What a verified connection has shown. */
interface Seen {
  problem?: string;
  /** When the certificate ends, in milliseconds. */
  ends?: number;
}

/** By the private CA where there is one, else by what Node and this machine trust. */
function handshake({ url, ca }: Address): Promise<Seen> {
  const host = url.hostname.replaceAll(/[[\]]/g, "");
  const options: ConnectionOptions = {
    ...{ host, port: Number(url.port || 443) },
    // TLS names no addresses (RFC 6066); the certificate is checked against the host either way.
    servername: isIP(host) ? "" : host,
    ca: ca ? [ca] : [...getCACertificates("default"), ...getCACertificates("system")],
  };
  return new Promise((resolve) => {
    const socket = connect(options, () => done({ ends: Date.parse(socket.getPeerCertificate().valid_to) }));
    const done = (seen: Seen) => {
      socket.destroy();
      resolve(seen);
    };
    socket.setTimeout(PATIENCE, () => done({ problem: `${url.host}: no answer in ${PATIENCE / 1000} s` }));
    socket.once("error", ({ code, message }: NodeJS.ErrnoException) =>
      done({ problem: `${url.host}: ${code || message}` }),
    );
  });
}
