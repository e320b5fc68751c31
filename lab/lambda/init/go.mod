module homecloud.lab/lambda-init

go 1.26
