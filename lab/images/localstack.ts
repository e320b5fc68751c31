import { DEFAULT_IMAGES } from "../../components/images.ts";
import { describeRootfs, withRootfs } from "../localstack/rootfs.ts";
import type { LargeRecipe } from "./catalog.ts";
import { architecture, packFolder } from "./docker-archive.ts";

/** Stands in for LocalStack's own image: where that has folders, programs and users that somebody relies on, so has this. */
export async function localStackRecipe(): Promise<LargeRecipe> {
  const ref = DEFAULT_IMAGES.localstack;
  const config = {
    Entrypoint: ["docker-entrypoint.sh"],
    Env: [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "LANG=C.UTF-8",
      "USER=localstack",
      "PYTHONUNBUFFERED=1",
      "LOCALSTACK_BUILD_VERSION=4.14.0",
    ],
    WorkingDir: "/opt/code/localstack",
    ExposedPorts: { "4566/tcp": {} },
    Volumes: { "/var/lib/localstack": {} },
  };
  return {
    ref,
    inputs: JSON.stringify([config, await describeRootfs()]),
    write: (archive, report) => withRootfs(report, (root) => packFolder({ ref, config, root }, architecture, archive)),
  };
}
