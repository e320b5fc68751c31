/** A setting as messages name it: registry.host, nodeTrust.nodes.0, nodeTrust.mirrors["docker.io"]. */
export function settingName(path: readonly (string | number)[]): string {
  return path.map((step, depth) => named(String(step), depth === 0)).join("");
}

function named(step: string, isFirst: boolean): string {
  if (!/^[\w-]+$/.test(step)) return `[${JSON.stringify(step)}]`;
  return isFirst ? step : `.${step}`;
}
