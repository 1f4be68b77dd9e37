//! Requests recorded from the official SDKs (key `testak`, secret `testsk`), and what must not pass.

use super::*;

const SECRET: &[u8] = b"testsk";
const USER_AGENT: &str = "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2";
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const FORM: &str = "application/x-www-form-urlencoded";

fn request(method: &str, query: &str, headers: &[(&str, &str)], body: &str) -> Request {
    Request {
        method: method.into(),
        path: "/".into(),
        query: query.into(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.into(),
    }
}

fn check(request: &Request, secret: &[u8]) -> Result<(), ApiError> {
    let parameters = request.parameters()?;
    let claim = Claim::of(request, &parameters)?;
    assert_eq!(claim.access_key_id, "testak");
    claim.verify(request, &parameters, secret)
}

/// The recorded request verifies, and not with another secret.
fn assert_recorded(request: &Request) {
    check(request, SECRET).unwrap();
    assert_eq!(check(request, b"testsk2").unwrap_err().code, "SignatureDoesNotMatch");
}

fn old_python() -> Request {
    let query = "Name=a%20b%2Ac~%E4%B8%AD%2F%2B%3D%26&Version=2017-09-12&Action=CreateCen&Format=JSON\
                 &RegionId=cn-hangzhou&Timestamp=2026-11-22T20%3A16%3A53Z&SignatureMethod=HMAC-SHA1&SignatureType=\
                 &SignatureVersion=1.0&SignatureNonce=79571d0068bbd1dba2e5af5ff56724f5&AccessKeyId=testak\
                 &Signature=lOWImcI8SO1SdKRGdMJRuuq6upE%3D";
    request("POST", query, &[], "")
}

#[test]
fn old_python_sdk_signs_an_empty_signature_type_too() {
    let request = old_python();
    assert_recorded(&request);
    let text = rpc_string_to_sign("POST", &request.parameters().unwrap());
    let expected = "POST&%2F&AccessKeyId%3Dtestak%26Action%3DCreateCen%26Format%3DJSON\
                    %26Name%3Da%2520b%252Ac~%25E4%25B8%25AD%252F%252B%253D%2526%26RegionId%3Dcn-hangzhou\
                    %26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D79571d0068bbd1dba2e5af5ff56724f5\
                    %26SignatureType%3D%26SignatureVersion%3D1.0%26Timestamp%3D2026-11-22T20%253A16%253A53Z\
                    %26Version%3D2017-09-12";
    assert_eq!(text.as_str(), expected);
}

#[test]
fn new_python_sdk_told_to_sign_v2_writes_a_space_as_plus() {
    let query = "Action=CreateCen&Format=json&Version=2017-09-12&Timestamp=2026-11-22T20%3A16%3A32Z\
                 &SignatureNonce=998557002a957f03c445ec9b68802cd9&Name=a+b%2Ac~%E4%B8%AD%2F%2B%3D%26\
                 &SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&AccessKeyId=testak\
                 &Signature=hhR4z9TvYsp5WMlHFs7xxhvR%2F0Y%3D";
    assert_recorded(&request("POST", query, &[], ""));
}

#[test]
fn node_pop_core_posts_everything_in_the_body() {
    let body = "AccessKeyId=testak&Action=DescribeCens&Format=JSON&Name=a%20b%2Ac~%E4%B8%AD%27%28%29%21\
                &SignatureMethod=HMAC-SHA1&SignatureNonce=ba5dfafdd074b12a498af696c3cbd826&SignatureVersion=1.0\
                &Timestamp=2026-11-22T20%3A18%3A41Z&Version=2017-09-12&Signature=X8mkjAr2kgka4IDc2sUpgy8O2DM%3D";
    assert_recorded(&request("POST", "", &[("content-type", FORM)], body));
}

#[test]
fn node_pop_core_gets() {
    let query = "AccessKeyId=testak&Action=CreateCen&Format=JSON&Name=x&SignatureMethod=HMAC-SHA1\
                 &SignatureNonce=668802800927b34c34b655684d65d89c&SignatureVersion=1.0\
                 &Timestamp=2026-11-22T20%3A18%3A41Z&Version=2017-09-12&Signature=YeUYAHw80ImmkmrLFN0KlbwOo%2Bk%3D";
    assert_recorded(&request("GET", query, &[], ""));
}

fn acs3_python() -> Request {
    let authorization = "ACS3-HMAC-SHA256 Credential=testak,SignedHeaders=accept;host;user-agent;x-acs-action;\
                         x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;\
                         x-acs-version,Signature=f517adde69657b42a80cf88330252d8ca73adcef083c112ef17fc0499d892f3c";
    let headers = [
        ("accept", "application/json"),
        ("host", "127.0.0.1:18931"),
        ("user-agent", USER_AGENT),
        ("x-acs-action", "CreateCen"),
        ("x-acs-credentials-provider", "static_ak"),
        ("x-acs-content-sha256", EMPTY_HASH),
        ("x-acs-date", "2026-11-22T20:16:32Z"),
        ("x-acs-signature-nonce", "aa957ce92206fe6040bb2f3f97e75c8e"),
        ("x-acs-version", "2017-09-12"),
        ("authorization", authorization),
    ];
    let query = "Description=d&Name=a+b%2Ac~%E4%B8%AD%2F%2B%3D%26&Tag.1.Key=k1&Tag.1.Value=v+1";
    request("POST", query, &headers, "")
}

#[test]
fn acs3_python_without_a_body() {
    let request = acs3_python();
    assert_recorded(&request);
    let signed: Vec<String> = "accept;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;\
                               x-acs-date;x-acs-signature-nonce;x-acs-version"
        .split(';')
        .map(str::to_owned)
        .collect();
    let text = acs3_string_to_sign(&request, &request.parameters().unwrap(), &signed);
    let hash = "61cb77f1f2ee6769ba84ef30896dd9a6de7c56ea074985fc9b5a9e4933e9b029";
    assert_eq!(text.as_str(), format!("ACS3-HMAC-SHA256\n{hash}"));
}

#[test]
fn acs3_node_leaves_some_characters_raw_in_the_query() {
    let authorization = "ACS3-HMAC-SHA256 Credential=testak,SignedHeaders=host;x-acs-action;x-acs-content-sha256;\
                         x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version,\
                         Signature=a6564f0dea9eb76dc7294dee11b8626d46cdae7d44cd17b5f7eccdbb9e27f57e";
    let headers = [
        ("host", "127.0.0.1:18931"),
        ("x-acs-action", "CreateCen"),
        ("x-acs-content-sha256", EMPTY_HASH),
        ("x-acs-credentials-provider", "static_ak"),
        ("x-acs-date", "2026-11-22T20:18:41Z"),
        ("x-acs-signature-nonce", "e93360e0ba08a3dbe3c861ad9fbc8a0d"),
        ("x-acs-version", "2017-09-12"),
        ("authorization", authorization),
    ];
    assert_recorded(&request("POST", "Name=a%20b*c~%E4%B8%AD%27()!", &headers, ""));
}

fn acs3_python_form() -> Request {
    let authorization = "ACS3-HMAC-SHA256 Credential=testak,SignedHeaders=accept;content-type;host;user-agent;\
                         x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;\
                         x-acs-signature-nonce;x-acs-version,\
                         Signature=2243dc58870130ba8fcc153fbe66169629852a137607dc551df0975f68974d06";
    let headers = [
        ("accept", "application/json"),
        ("content-type", FORM),
        ("host", "127.0.0.1:18931"),
        ("user-agent", USER_AGENT),
        ("x-acs-action", "ModifyVpnConnectionAttribute"),
        ("x-acs-credentials-provider", "static_ak"),
        ("x-acs-content-sha256", "02dc516894ddd4dc630a7a82247e73e83d4688beb638e81cb58b22c6f7861760"),
        ("x-acs-date", "2026-11-22T20:56:13Z"),
        ("x-acs-signature-nonce", "8c9181ed52ee843fb64a8c3cc18343d0"),
        ("x-acs-version", "2016-04-28"),
        ("authorization", authorization),
    ];
    let body = "TunnelOptionsSpecification.1.EnableDpd=False&TunnelOptionsSpecification.1.TunnelId=tun-1";
    request("POST", "RegionId=cn-hangzhou&VpnConnectionId=vco-1", &headers, body)
}

#[test]
fn acs3_python_with_a_form_body() {
    assert_recorded(&acs3_python_form());
}

#[test]
fn a_changed_body_query_or_header_is_noticed() {
    let mut body = acs3_python_form();
    body.body.push(b'0');
    let mut query = acs3_python();
    query.query.push_str("&Extra=1");
    let mut header = acs3_python();
    header.headers[3].1 = "DeleteCen".into();
    for tampered in [body, query, header] {
        let error = check(&tampered, SECRET).unwrap_err();
        assert_eq!((error.http_status, error.code.as_ref()), (400, "SignatureDoesNotMatch"));
    }
}

#[test]
fn an_unsigned_acs_header_a_missing_and_a_repeated_one_are_refused() {
    let mut added = acs3_python();
    added.headers.push(("x-acs-extra".into(), "1".into()));
    let mut removed = acs3_python();
    removed.headers.retain(|(name, _)| name != "x-acs-date");
    let mut repeated = acs3_python();
    for (_, value) in repeated.headers.iter_mut().filter(|(name, _)| name == "authorization") {
        *value = value.replace("SignedHeaders=accept;", &format!("SignedHeaders={}", "accept;".repeat(10_000)));
    }
    for request in [added, removed, repeated] {
        assert_eq!(check(&request, SECRET).unwrap_err().code, "IncompleteSignature");
    }
}

#[test]
fn a_nonce_that_says_nothing_or_comes_twice_is_refused() {
    for nonces in [&[""][..], &[" "], &["a", "b"], &[]] {
        let mut signed = acs3_python();
        signed.headers.retain(|(name, _)| name != "authorization" && name != "x-acs-signature-nonce");
        let nonces = nonces.iter().map(|nonce| ("x-acs-signature-nonce".to_owned(), (*nonce).to_owned()));
        signed.headers.extend(nonces);
        let authorization = authorize_acs3(&signed, "testak", SECRET).unwrap();
        signed.headers.push(("authorization".to_owned(), authorization));
        assert_eq!(check(&signed, SECRET).unwrap_err().code, "IncompleteSignature");
    }
    let rpc = old_python();
    let query = rpc.query.replace("SignatureNonce=79571d0068bbd1dba2e5af5ff56724f5", "SignatureNonce=");
    assert_eq!(check(&request("POST", &query, &[], ""), SECRET).unwrap_err().code, "IncompleteSignature");
}

#[test]
fn unsigned_requests_and_unknown_methods_have_their_own_codes() {
    assert_eq!(
        check(&request("POST", "Action=DescribeCens", &[], ""), SECRET).unwrap_err().code,
        "IncompleteSignature"
    );
    let mut digest = old_python();
    digest.query = digest.query.replace("HMAC-SHA1", "HMAC-MD5");
    let mut bearer = old_python();
    bearer.query = bearer.query.replace("SignatureType=", "SignatureType=BEARERTOKEN");
    let mut other = acs3_python();
    other.headers.iter_mut().for_each(|(_, value)| *value = value.replace("ACS3-HMAC-SHA256", "ACS3-HMAC-SM3"));
    for request in [digest, bearer, other] {
        assert_eq!(check(&request, SECRET).unwrap_err().code, "InvalidSignatureMethod");
    }
}

#[test]
fn the_mismatch_message_holds_our_string_to_sign_after_its_only_colon() {
    let request = old_python();
    let error = check(&request, b"wrong").unwrap_err();
    let text = rpc_string_to_sign("POST", &request.parameters().unwrap());
    assert_eq!(error.message.split(':').collect::<Vec<_>>().len(), 2);
    assert_eq!(error.message.split(':').nth(1), Some(text.as_str()));
}

#[test]
fn the_mismatch_message_never_holds_a_secret() {
    let base = old_python().query.clone();
    for secret in [
        "IkeConfig=%7B%22Psk%22%3A%22hunter2%22%7D",
        "TunnelOptionsSpecification.1.TunnelIkeConfig.Psk=hunter2",
        "AuthKey=hunter2",
        "Misspelt=%7B%22psk%22%3A%22hunter2%22%7D",
    ] {
        let error = check(&request("POST", &format!("{base}&{secret}"), &[], ""), SECRET).unwrap_err();
        assert_eq!(error.code, "SignatureDoesNotMatch");
        assert!(error.message.starts_with("Specified signature is not matched with our calculation. "));
        assert!(error.message.contains("server string to sign is:"), "clients split at the colon");
        assert!(!error.message.contains("hunter2"));
    }
}

#[test]
fn what_we_sign_verifies() {
    for method in [RpcMethod::HmacSha1, RpcMethod::HmacSha256] {
        let query = format!(
            "Action=A&AccessKeyId=testak&Timestamp=t&SignatureNonce=n&SignatureVersion=1.0&SignatureMethod={}",
            method.name()
        );
        let mut signed = request("GET", &query, &[], "");
        let signature = sign_rpc(method, "GET", &signed.parameters().unwrap(), SECRET);
        signed.query.push_str(&format!("&Signature={}", percent_encode(&signature)));
        assert_recorded(&signed);
    }
    let mut signed = acs3_python();
    signed.headers.retain(|(name, _)| name != "authorization");
    let authorization = authorize_acs3(&signed, "testak", SECRET).unwrap();
    signed.headers.push(("authorization".into(), authorization));
    assert_recorded(&signed);
}
