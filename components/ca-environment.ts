/** Where pods mount the ConfigMap `homecloud-ca`, and the outputs' variables expect it. */
export const CA_FOLDER = "/etc/homecloud-ca";
export const CA_FILE = `${CA_FOLDER}/ca.crt`;

/** Variables that make SDKs trust the CA: AWS's own, Node's, OpenSSL's (Go, Ruby, Python's ssl). */
export const CA_VARIABLES = { AWS_CA_BUNDLE: CA_FILE, NODE_EXTRA_CA_CERTS: CA_FILE, SSL_CERT_FILE: CA_FILE };
