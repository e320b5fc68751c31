/** Name of the Pulumi project, and so the prefix of every configuration key. */
export const PROJECT = "homecloud";
