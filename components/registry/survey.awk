# Tells which manifests and blobs of a registry stay, and has the folders of the others removed. For busybox's awk: there is
# no JSON parser in the registry's image. Reads lines KIND NUMBER PATH, in this order:
#   revision MTIME …/_manifests/revisions/ALGORITHM/HEX/link        a repository has this manifest
#   tag 0 …/_manifests/tags/TAG/current/link                        names the manifest that the tag stands for
#   decide                                                          both lists are whole; without this line nothing goes
#   history MTIME …/_manifests/tags/TAG/index/ALGORITHM/HEX/link    what the tag has stood for
#   blob BLOCKS …/ALGORITHM/HE/HEX/data                             a blob, in units of 512 bytes
#
# -v blobs=FOLDER     of the blobs
# -v cutoff=SECONDS   manifests that are older and that nothing needs go. 0: none
# -v remover=COMMAND  is given the folders that go, one a line. Empty: nothing is removed
#
# Prints how many manifests go, how many blobs, and the blobs' bytes.
#
# A manifest stays if a tag names it, if it is young, if a manifest that stays mentions it (an index its images), or if its
# `subject` stays (a signature its image). To mention is to have the digest as a JSON string anywhere: what is no
# reference, an annotation say, keeps too much and never too little.

function key_of(repository, digest) { return repository SUBSEP digest }
function digest_of(key) { return substr(key, index(key, SUBSEP) + 1) }

function file_of(digest,   colon, hex) {
  colon = index(digest, ":")
  hex = substr(digest, colon + 1)
  return blobs "/" substr(digest, 1, colon - 1) "/" substr(hex, 1, 2) "/" hex "/data"
}

function is_digest(text) { return length(text) > 40 && text ~ /^[a-z0-9]+:[0-9a-f]+$/ }

# Into mentions[1..mentioned] all digests in a manifest, into has_subject whether it may have one. 0 where it cannot be read.
function read_manifest(digest,   file, text, status, readable) {
  mentioned = has_subject = 0
  readable = 1
  file = file_of(digest)
  RS = "\""
  while ((status = (getline text < file)) > 0) {
    # A digest written with escapes would not be seen. No client does that; its repository is left alone.
    if (index(text, "\\u00") && text ~ /\\u00(3[0-9aA]|[46][1-9a-fA-F]|[57][0-9aA])/) readable = 0
    sub(/\\$/, "", text)
    if (text == "subject") has_subject = 1
    else if (is_digest(text)) mentions[++mentioned] = text
  }
  RS = "\n"
  close(file)
  return status == 0 && readable
}

# Others are somebody's copies by hand ("team (copy)"): the registry does not know them, and what removes takes words.
function is_name(repository) { return name_of(repository) ~ /^[a-z0-9][a-z0-9._\/-]*$/ }

function name_of(repository) { return substr(repository, index(repository, "/repositories/") + 14) }

function leave(repository, why) {
  if (repository in left) return
  left[repository] = 1
  print "collect-garbage: " name_of(repository) " keeps its untagged manifests: " why | "cat >&2"
}

function keep(key) {
  if (key in kept) return
  kept[key] = 1
  stays[digest_of(key)] = 1
  todo[++waiting] = key
}

# Keeps what the kept manifests mention.
function follow(repository,   key, i) {
  while (waiting > 0) {
    key = todo[waiting--]
    if (!read_manifest(digest_of(key))) leave(repository, digest_of(key) " cannot be read")
    for (i = 1; i <= mentioned; i++) {
      stays[mentions[i]] = 1
      if (key_of(repository, mentions[i]) in before) keep(key_of(repository, mentions[i]))
    }
  }
}

# Of the manifests that have not been kept, those with a subject, and what each mentions.
function find_subjects(repository,   key, i) {
  for (key = newest[repository]; key != ""; key = before[key]) {
    if (key in kept) continue
    read_manifest(digest_of(key))
    if (has_subject) for (i = 1; i <= mentioned; i++) subjects[key] = subjects[key] " " mentions[i]
  }
}

function any_kept(repository, list,   digests, i) {
  for (i = split(list, digests, " "); i > 0; i--) if (key_of(repository, digests[i]) in kept) return 1
  return 0
}

function keep_with_subjects(repository,   key, more) {
  find_subjects(repository)
  do {
    more = 0
    for (key in subjects) {
      if (key in kept || !any_kept(repository, subjects[key])) continue
      keep(key)
      follow(repository)
      more = 1
    }
  } while (more)
  for (key in subjects) delete subjects[key]
}

function decide(repository,   key) {
  for (key = newest[repository]; key != ""; key = before[key]) {
    if (key in tagged || key in young) keep(key)
  }
  follow(repository)
  keep_with_subjects(repository)
  if (repository in left) {
    for (key = newest[repository]; key != ""; key = before[key]) keep(key)
    follow(repository)
  }
  for (key = newest[repository]; key != ""; key = before[key]) {
    if (key in kept) continue
    manifests++
    remove(repository "/_manifests/revisions/" folder_of(digest_of(key)))
  }
}

function folder_of(digest) { sub(/:/, "/", digest); return digest }

function remove(folder) {
  if (remover == "") return
  print folder | remover
  removing = 1
}

$1 == "decide" {
  for (repository in newest) decide(repository)
  decided = 1
  next
}

{
  path = substr($0, length($1) + length($2) + 3)
  start = index(path, "/_manifests/")
  repository = substr(path, 1, start - 1)
  depth = split(path, part, "/")
  if ($1 != "blob" && !is_name(repository)) leave(repository, "that is no name of a repository")
}

$1 == "revision" && split(substr(path, start), unused, "/") == 6 {
  digest = part[depth - 2] ":" part[depth - 1]
  key = key_of(repository, digest)
  before[key] = newest[repository]
  newest[repository] = key
  if ($2 >= cutoff || digest !~ /^sha256:/) young[key] = 1
}

$1 == "tag" {
  digest = ""
  if ((getline digest < path) < 0 || !is_digest(digest)) leave(repository, "its tag " part[depth - 2] " cannot be read")
  close(path)
  tagged[key_of(repository, digest)] = 1
}

$1 == "history" && !(repository in left) && !(key_of(repository, part[depth - 2] ":" part[depth - 1]) in kept) {
  remove(substr(path, 1, length(path) - length("/link")))
}

$1 == "blob" && !(part[depth - 3] ":" part[depth - 1] in stays) {
  freed++
  blocks += $2
}

END {
  if (!decided) exit 1
  if (removing && close(remover) != 0) exit 1
  printf "%d %d %.0f\n", manifests, freed, blocks * 512
}
