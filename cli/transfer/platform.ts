import { arch } from "node:os";
import { EXIT, UserError } from "../errors.ts";
import type { Descriptor } from "../registry/client.ts";
import { platformName } from "./tree.ts";

type Platform = NonNullable<Descriptor["platform"]>;

/** Node's names of processors, and those of images. */
const ARCHITECTURES: Record<string, Platform> = {
  x64: { os: "linux", architecture: "amd64" },
  arm64: { os: "linux", architecture: "arm64", variant: "v8" },
  arm: { os: "linux", architecture: "arm", variant: "v7" },
  ia32: { os: "linux", architecture: "386" },
};

/** What images must be for, to run on this machine: also on a Mac, whose Docker runs Linux. */
export const ownPlatform = (): Platform => ARCHITECTURES[arch()] ?? { os: "linux", architecture: arch() };

/** Reads `linux/arm64/v8`. */
export function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...rest] = text.split("/");
  if (!os || !architecture || rest.length > 0) {
    throw new UserError(`${text} is no platform: linux/amd64 and linux/arm/v7 are`, EXIT.usage);
  }
  return { os, architecture, ...(variant ? { variant } : {}) };
}

/** The image of a list that is for a platform. Throws a UserError that names those that are there. */
export function imageFor(manifests: Descriptor[], wanted: Platform, name: string): Descriptor {
  const fits = manifests.filter(
    ({ platform }) => platform?.os === wanted.os && platform?.architecture === wanted.architecture,
  );
  // An arm64 without a variant is v8; a list with one image for the processor means it.
  const exact = fits.find(({ platform }) => platform?.variant === wanted.variant) ?? fits[0];
  if (exact) return exact;
  const there = manifests.map(({ platform }) => platformName(platform ?? {})).filter((each) => !/unknown/.test(each));
  throw new UserError(
    `${name} has no image for ${platformName(wanted)}; there are: ${there.join(", ")}. Choose one with --platform, or take all with --all-platforms -o ARCHIVE`,
    EXIT.missing,
  );
}
