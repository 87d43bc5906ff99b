// What the processes of a mount do without of the environment of whoever mounts.

/** Node.js reads and decodes the certificates of this file at the start of every process, which with a usual bundle takes longer than all else that it does there. */
const EXTRA_CERTIFICATES = 'NODE_EXTRA_CA_CERTS';

/** A copy for processes that never use TLS: those of a mount. */
export function withoutCertificates(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => name !== EXTRA_CERTIFICATES));
}
