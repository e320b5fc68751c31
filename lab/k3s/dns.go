package main

import "net"

const dnsAddress = "127.0.0.1:53"

// serveDNS is a home network's DNS server that has never heard of any name. Without one, a name that is not known fails
// with other words than at home.
func serveDNS() error {
	socket, err := net.ListenPacket("udp", dnsAddress)
	if err != nil {
		return err
	}
	go func() {
		for message := make([]byte, 512); ; {
			length, from, err := socket.ReadFrom(message)
			if err != nil {
				return
			}
			if answer := noSuchName(message[:length]); answer != nil {
				socket.WriteTo(answer, from)
			}
		}
	}()
	return nil
}

// noSuchName turns a question into its answer: the header says NXDOMAIN, and that nothing follows the question.
// https://www.rfc-editor.org/rfc/rfc1035#section-4.1.1
func noSuchName(question []byte) []byte {
	end := questionEnd(question)
	if end == 0 {
		return nil
	}
	answer := append([]byte{}, question[:end]...)
	answer[2] |= 0x80
	answer[3] = 0x83
	copy(answer[6:12], make([]byte, 6))
	return answer
}

func questionEnd(message []byte) int {
	const headerLength, typeAndClass = 12, 4
	for at := headerLength; at < len(message); at += 1 + int(message[at]) {
		if message[at] == 0 && at+1+typeAndClass <= len(message) {
			return at + 1 + typeAndClass
		}
	}
	return 0
}
