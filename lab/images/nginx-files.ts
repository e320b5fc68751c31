import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { debianRoot } from "../debian.ts";
import { folder, programWithLibraries, withParents } from "./shared-libraries.ts";
import type { TarEntry } from "./tar.ts";

/** uid and gid of nginx in nginxinc's unprivileged image. */
const NGINX = 101;

/** Debian's nginx where nginxinc's image has it, with the shared libraries it needs. */
export async function nginxFiles(): Promise<TarEntry[]> {
  return [
    ...["lib64", "etc/nginx", "etc/nginx/conf.d", "usr", "usr/sbin", "var", "var/log", "var/cache"].map(folder),
    ...["var/log/nginx", "var/lib/nginx", "var/cache/nginx"].flatMap(withParents).map(nginxFolder),
    ...(await programWithLibraries("nginx", "usr/sbin/nginx")),
    { path: "etc/nginx/mime.types", content: await readFile(join(debianRoot, "etc/nginx/mime.types")) },
    { path: "etc/nginx/nginx.conf", content: DEFAULT_CONFIG },
    { path: "var/log/nginx/access.log", linkTo: "/dev/stdout" },
    { path: "var/log/nginx/error.log", linkTo: "/dev/stderr" },
    { path: "etc/passwd", content: "root:x:0:0:root:/:/bin/sh\nnginx:x:101:101:nginx:/nonexistent:/bin/false\n" },
    { path: "etc/group", content: "root:x:0:\nnginx:x:101:\n" },
    { path: "docker-entrypoint.sh", mode: 0o755, content: '#!/bin/sh\nexec "$@"\n' },
  ];
}

/** A page's worth of settings, so that the image also runs as it is, on 8080 like the original. */
const DEFAULT_CONFIG = `pid /tmp/nginx.pid;
events {}
http {
  include /etc/nginx/mime.types;
  client_body_temp_path /tmp/client_temp;
  proxy_temp_path /tmp/proxy_temp;
  fastcgi_temp_path /tmp/fastcgi_temp;
  uwsgi_temp_path /tmp/uwsgi_temp;
  scgi_temp_path /tmp/scgi_temp;
  server {
    listen 8080;
    location / { return 200 "nginx\\n"; }
  }
}
`;

const nginxFolder = (path: string): TarEntry =>
  basename(path) === "nginx" ? { path, folder: true, owner: NGINX } : folder(path);
