module homecloud.lab/pause

go 1.26
