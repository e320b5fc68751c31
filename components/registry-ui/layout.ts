import { CA_FILE } from "../ca-environment.ts";

/** Where the page's containers find each other and their files. */
export interface UiLayout {
  /** Port of the gate, the only one that clients reach. */
  gatePort: number;
  /** Port of the health answer. */
  healthPort: number;
  /** Port on which the page's own nginx listens; no policy lets anybody reach it. */
  pagePort: number;
  loopback: string;
  /** Private, writable place of the gate. On memory. */
  tmp: string;
  /** Configuration files. */
  config: string;
  /** Folder of the certificate and key, where the gate terminates TLS. */
  certificate: string;
  /** The registry's CA, where its gate terminates TLS. */
  caFile: string;
  /** File that access logs go to. */
  accessLog: string;
}

/** The layout in the pod. */
export const POD_LAYOUT: UiLayout = {
  gatePort: 8080,
  healthPort: 9090,
  pagePort: 8090,
  loopback: "127.0.0.1",
  tmp: "/tmp",
  config: "/etc/homecloud",
  certificate: "/etc/homecloud-certificate",
  caFile: CA_FILE,
  accessLog: "/dev/stdout",
};
