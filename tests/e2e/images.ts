import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tar } from "../../lab/images/tar.ts";
import { inCache } from "../../lab/paths.ts";
import { OCI_MANIFEST, sha256 } from "../integration/client.ts";

/** The archive of one of the lab's images, which run: `busybox`, `nginx`. In Docker's format. */
export async function archiveOf(image: string): Promise<string> {
  const files = await readdir(inCache("images"));
  const name = files.find((file) => file.includes(image) && file.endsWith(".tar"));
  if (!name) throw new Error(`the lab has made no image ${image}`);
  return inCache("images", name);
}

/** An OCI layout on disk, as `skopeo copy oci:FOLDER:TAG` reads it. */
export interface OciLayout {
  folder: string;
  /** Digest of what the tag `1.0` names. */
  digest: string;
}

/** One image of one random layer. */
export async function ociImage(layerBytes = 4096): Promise<OciLayout> {
  const layout = await Layout.create();
  return layout.tag(await layout.image("amd64", layerBytes));
}

/** An index of one image for each of two architectures. */
export async function ociIndex(): Promise<OciLayout> {
  const layout = await Layout.create();
  const manifests = [];
  for (const architecture of ["amd64", "arm64"]) {
    manifests.push({ ...(await layout.image(architecture, 4096)), platform: { os: "linux", architecture } });
  }
  const mediaType = "application/vnd.oci.image.index.v1+json";
  return layout.tag(await layout.blob(JSON.stringify({ schemaVersion: 2, mediaType, manifests }), mediaType));
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

class Layout {
  private readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Layout> {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-oci-"));
    await mkdir(join(folder, "blobs", "sha256"), { recursive: true });
    await writeFile(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    return new Layout(folder);
  }

  async blob(content: Uint8Array | string, mediaType: string): Promise<Descriptor> {
    const bytes = Buffer.from(content);
    await writeFile(join(this.folder, "blobs", ...sha256(bytes).split(":")), bytes);
    return { mediaType, digest: sha256(bytes), size: bytes.length };
  }

  async image(architecture: string, layerBytes: number): Promise<Descriptor> {
    const layer = tar([{ path: "random", content: randomBytes(layerBytes) }]);
    const rootfs = { type: "layers", diff_ids: [sha256(layer)] };
    const config = await this.blob(
      JSON.stringify({ created: "2026-01-01T00:00:00Z", architecture, os: "linux", config: {}, rootfs }),
      "application/vnd.oci.image.config.v1+json",
    );
    const layers = [await this.blob(layer, "application/vnd.oci.image.layer.v1.tar")];
    return this.blob(JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers }), OCI_MANIFEST);
  }

  async tag(descriptor: Descriptor): Promise<OciLayout> {
    const manifests = [{ ...descriptor, annotations: { "org.opencontainers.image.ref.name": "1.0" } }];
    await writeFile(join(this.folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
    return { folder: this.folder, digest: descriptor.digest };
  }
}
