// Traefik as published: `go install` of a version refuses a module with replace lines, which are copied here. Otherwise than
// there, go-http-auth is an older commit of the same fork, since the Go module proxy has not got the newer one; `ext` is ours;
// and go-builds.ts puts lego/ in place of lego's list of DNS providers, whose hundred clients no test needs.
module homecloud.lab/traefik

go 1.26.0

require github.com/traefik/traefik/v3 v3.7.13

replace (
	github.com/abbot/go-http-auth => github.com/containous/go-http-auth v0.4.1-0.20200324110947-a37a7636d23e
	github.com/gorilla/mux => github.com/containous/mux v0.0.0-20250523120546-41b6ec3aed59
	github.com/traefik/traefik/dynamic/ext => ./ext
)

// ambiguous import: found package github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http in multiple modules
exclude github.com/tencentcloud/tencentcloud-sdk-go v3.0.83+incompatible
